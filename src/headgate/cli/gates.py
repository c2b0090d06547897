"""``headgate gates``: what the gates do over one's own series or sentence."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import shown
from ..data.examples import is_ts
from ..data.sequence_files import read_sequences
from ..data.tables import read_table
from ..data.tagged_files import read_sentences
from ..data.text_files import read_texts
from ..errors import InputError
from ..files import check_target, write_beside_and_rename
from ..gate_plots import NOTES
from ..models.forecasting.forecaster import GRUForecaster
from ..models.inside import Look, look
from ..models.loading import load
from ..models.texts.classifier import TextClassifier
from ..models.texts.language_model import LanguageModel
from ..models.texts.tagger import SequenceTagger
from ..network import Network
from .output import console
from .reports import as_file

SHOWN = 300  # steps of a long series
IMAGES = (".png", ".svg", ".pdf")


def draw_gates(
    model_file: Path,
    what: str,
    out: Path,
    csv: Path | None,
    *,
    layer: str | None,
    units: str | None,
    example: int,
    last: int | None,
    columns: str | None,
    id: str | None,
    encoding: str | None,
) -> None:
    """Write the picture, and the numbers to ``csv``; say what it shows.

    Raises:
        HeadgateError: for anything that the user can put right; nothing is half written.
    """
    if out.suffix.lower() not in IMAGES:
        raise InputError(f"--out is {out}, expected a name that ends in {', '.join(IMAGES)}")
    for target in (out, csv):
        if target is not None:
            check_target(target)
    chosen = _numbers(units)
    model = load(model_file)
    data, more = _read(model, what, example, columns, encoding)
    found = look(model, data, layer=layer, id=id, **more)
    steps = len(found)
    if steps > (last or SHOWN):
        found = found.last(last or SHOWN)
    figure = found.plot(units=chosen, title=f"{type(model).__name__}, {found.layer}")
    picture = io.BytesIO()
    figure.savefig(picture, format=out.suffix.lower()[1:])
    table = b"" if csv is None else _csv(found, chosen)
    write_beside_and_rename(out, picture.getvalue())
    if csv is not None:
        write_beside_and_rename(csv, table)
    _say(found, steps, out, csv)


def _say(found: Look, steps: int, out: Path, csv: Path | None) -> None:
    show = console()
    part = f"the last {len(found)} of {steps}" if steps > len(found) else f"{steps}"
    of = f", of the first of {found.networks} networks" if found.networks > 1 else ""
    show.print(f"{found.layer}: {part} steps{of}")
    for name, gate in found.gates.items():
        note = NOTES[found.kind].get(name, "")
        show.print(f"  {name:<7} {gate.mean():.2f} in the mean{f'; {note}' if note else ''}")
    others = [name for name in found.layers if name != found.layer]
    if others:
        show.print(f"  --layer also knows {', '.join(others)}")
    show.print(f"written to {out}{f' and {csv}' if csv is not None else ''}")


def _csv(found: Look, units: list[int]) -> bytes:
    import polars as pl
    import polars.selectors as cs

    frame = pl.DataFrame(found.table(units)).with_columns(cs.float().round_sig_figs(7))
    return frame.write_csv().encode()


def _numbers(units: str | None) -> list[int]:
    parts = [] if units is None else units.replace(" ", "").split(",")
    if not all(part.isdecimal() and len(part) < 8 for part in parts):
        raise InputError(f"--units is {units!r}, expected numbers from 1 on, such as 1,2,5")
    return [int(part) for part in parts]


# -- what is read -------------------------------------------------------------------------------


def _read(
    model: Any, what: str, example: int, columns: str | None, encoding: str | None
) -> tuple[Any, dict[str, Any]]:
    """The example as ``look`` takes it, and what its columns and steps are called."""
    path = as_file(what)
    if isinstance(model, (TextClassifier, LanguageModel, SequenceTagger)):
        if path is None:
            return what, {}
        if isinstance(model, SequenceTagger):
            found: list[Any] = read_sentences(path, tagged=False, encoding=encoding).tokens
        else:
            found = read_texts([path], labelled=False, encoding=encoding).texts
        return _chosen(found, example, path), {}
    if path is None:
        raise InputError(f"there is no file {shown(what)}; name one with the values to look at")
    if isinstance(model, GRUForecaster):
        return read_table(path, encoding=encoding), {}
    if is_ts(path):
        return _chosen(read_sequences(path, encoding=encoding).values, example, path), {}
    return _from_table(model, path, columns, encoding)


def _chosen(examples: list[Any], number: int, path: Path) -> Any:
    if not 1 <= number <= len(examples):
        raise InputError(f"{path} has {len(examples)} examples; --example is {number}")
    return examples[number - 1]


def _from_table(
    model: Any, path: Path, columns: str | None, encoding: str | None
) -> tuple[Any, dict[str, Any]]:
    """One sequence in the columns of a table; a column that is no number names the steps."""
    table = read_table(path, encoding=encoding)
    width, integers = _width(model)
    numeric = [name for name, kind in table.schema.items() if kind.is_numeric()]
    names = numeric
    if columns is not None:
        names = [name.strip() for name in columns.split(",")]
        unknown = [name for name in names if name not in numeric]
        if unknown:
            raise InputError(
                f"{path} has no column of numbers {unknown[0]!r}; it has {', '.join(numeric)}"
            )
    if len(names) != width:
        raise InputError(
            f"the model reads {width} {'column' if width == 1 else 'columns'}, but {path} has "
            f"{len(names)} of numbers: {', '.join(names[:8])}; name them with --columns"
        )
    values = table.select(names).to_numpy()
    if np.isnan(values.astype(np.float64)).any():
        raise InputError(f"{path} has empty cells in {', '.join(names)}; fill them first")
    others = [name for name in table.columns if name not in numeric]
    labels = table[others[0]].cast(str).fill_null("").to_list() if others else None
    if integers:
        return values[:, 0] if width == 1 else values, {}
    return values, {"names": names, "labels": labels}


def _width(model: Any) -> tuple[int, bool]:
    """Columns of a sequence that the model reads, and whether they are tokens."""
    if not isinstance(model, Network):
        return model.reading_.channels, False
    spec = model.spec
    if len(spec.inputs) > 1:
        raise InputError(
            "this network reads several inputs, which a table cannot name; use "
            "headgate.look(net, {...}) in Python"
        )
    if spec.token_inputs:
        return sum(part.stop - part.start for part in spec.token_columns.values()), True
    return spec.input_size, False
