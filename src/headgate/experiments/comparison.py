"""compare: kinds of networks on the same data, split and budget, and what came out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..checks import check_choice, check_size
from ..errors import DivergenceError, InputError
from ..training.progress import Progress
from .asked import lengths_of, model_names, shares_of
from .data import TASKS, open_data
from .job import Job
from .jobs import make_job
from .kinds import MODELS, Model, NetworkModel, make_model, reason_against
from .report import as_text, checked_target
from .report import save as save_report
from .results import LENGTH, SHARE, Results, Run
from .toys import adding_job, adding_table, sine_job

TOYS = ("adding", "sine")
LENGTHS = (50, 100)
GRADIENT_SAMPLES = 50
LONG = 5.0  # seconds that are worth a word before
PYTORCH = 16  # the Transformer takes about as long as so many networks


class Comparison(Results):
    """What :func:`compare` found, to print, draw and save."""

    def show(self) -> None:
        """Print the table and what it says."""
        print(self)

    def __repr__(self) -> str:
        return as_text(self)

    def plot(self) -> Any:
        """Draw learning curves, scores, and what else there is; returns the matplotlib Figure."""
        from .pictures import overview  # matplotlib comes with it

        return overview(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a report: one ``.html`` file, or ``.md`` with its pictures beside it.

        Raises:
            InputError: another ending.
            HeadgateError: the files cannot be written; nothing was changed.
        """
        save_report(self, path)


def check_report(path: str | os.PathLike[str]) -> None:
    """Raise InputError now for a path that :meth:`Comparison.save` would refuse later."""
    checked_target(path)


def compare(
    data: Any = None,
    task: str | None = None,
    *,
    models: str | Iterable[str] = MODELS,
    seeds: int = 3,
    train_fraction: float | str | Iterable[float] = 1.0,
    length: int | str | Iterable[int] = LENGTHS,
    hidden_size: int | None = None,
    epochs: int | None = None,
    lookback: int | None = None,
    horizon: int = 12,
    progress: bool | str = "auto",
    say: Callable[[str], object] | None = None,
    **reading: Any,
) -> Comparison:
    """Train kinds of networks on the same samples, with the same budget, and measure them.

    Only what stands between the input and the linear head differs: a GRU, one whose reset gate
    acts before the product (``gru_reset_before``), an LSTM and a plain RNN of equal width, a
    network without memory (``mlp``), and a small Transformer where PyTorch is installed. A model
    that cannot do the job is left out, which the result says.

    Args:
        data: a table with a numeric series, a frame or an array (forecast); a .ts file, labelled
            texts or a pair (items, labels) (classify); a running text (text). None for "adding" and
            "sine".
        task: "forecast", "classify", "text", "adding" (remember two of ``length`` numbers) or
            "sine" (a noisy sine, one value after the other); by default what the data are for.
        models: names out of ``MODELS``, a list or with commas.
        seeds: how often each is trained, from seeds 0, 1, ...
        train_fraction: shares of the training data in (0, 1], one table row for each. The latest
            windows of a series, the last part of a text, the same share of each class. What is
            learned before the networks (scale, vocabulary) is that of the whole training part.
        length: of the adding problem.
        hidden_size: width; 32, or 64 for a text and 16 for the sine. The MLP has layers of twice
            the width and of the width.
        epochs: as many for all; by default what makes about the same number of updates for any
            share of the data.
        lookback: steps of a window; two seasons or more by default (forecast).
        horizon: steps to forecast.
        progress: as in :meth:`headgate.Network.fit`.
        say: called with a line before what will take long.
        **reading: test, encoding, time, target, id, freq, text, label, label_until, header, tokens:
            how files are read.

    Raises:
        InputError: an unknown model, task or option, data that cannot be used, or no model left.
    """
    names = model_names(models)
    check_size("seeds", seeds, maximum=1000)
    if hidden_size is not None:
        check_size("hidden_size", hidden_size, maximum=4096)
    if epochs is not None:
        check_size("epochs", epochs, maximum=1 << 20)
    jobs, varies = _jobs(data, task, train_fraction, length, lookback, horizon, reading)
    if epochs is not None:
        jobs = {setting: replace(job, epochs=epochs) for setting, job in jobs.items()}
    left_out: dict[str, str] = {}
    for name in names:
        reasons = {setting: reason_against(name, job) for setting, job in jobs.items()}
        if len(set(reasons.values())) == 1:
            reasons = {None: next(iter(reasons.values()))}
        for setting, reason in reasons.items():
            if reason is not None:
                left_out[_label(name, varies, setting)] = reason
    able = [name for name in names if name not in left_out]
    expected = _expected(jobs.values(), able, seeds, hidden_size)
    if say is not None and expected > LONG:
        say(f"about {expected:.0f} s")
    runs = _train(jobs, names, seeds, hidden_size, varies, left_out, progress)
    if not runs:
        why = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise InputError(f"no model is left to compare: {why}")
    baselines = {setting: job.baselines for setting, job in jobs.items()}
    return Comparison(list(jobs.values())[-1], runs, baselines, varies, left_out)


def _label(name: str, varies: str | None, setting: float | None) -> str:
    """What a model is called where it is left out, of one setting or of all."""
    return name if setting is None else f"{name} at {varies} {setting:g}"


def _train(
    jobs: Mapping[float | None, Job],
    names: Sequence[str],
    seeds: int,
    hidden: int | None,
    varies: str | None,
    left_out: dict[str, str],
    progress: bool | str,
) -> list[Run]:
    runs: list[Run] = []
    todo = [
        (setting, name)
        for setting in jobs
        for name in names
        if not {name, _label(name, varies, setting)} & set(left_out)
    ]
    with Progress(len(todo) * seeds, "comparing", progress) as bar:
        for k, (setting, name) in enumerate(todo):
            label = _label(name, varies, setting)
            own = []
            for seed in range(seeds):
                if bar.active:
                    bar.update(k * seeds + seed, f"{label}, seed {seed}")
                try:
                    own.append(_run(jobs[setting], name, setting, hidden, seed))
                except DivergenceError as error:
                    left_out[label] = f"seed {seed}: {str(error).partition('.')[0]}"
                    own = []
                    break
            runs += own
    return runs


def _expected(jobs: Iterable[Job], names: Sequence[str], seeds: int, hidden: int | None) -> float:
    """About how many seconds all will take, from two updates of a GRU.

    It wakes the machine too, so that the first model is not the one that does.
    """
    models = sum(PYTORCH if name == "transformer" else 1 for name in names)
    total = 0.0
    for job in jobs:
        rows = np.arange(min(2 * int(job.fit["batch_size"]), len(job.train)))
        few = replace(job, train=job.train.take(rows), validation=None, epochs=1)
        model = make_model("gru", few, job.hidden if hidden is None else hidden, 0)
        model.fit()
        share = model.fit().seconds / len(rows)
        total += share * len(job.train) * job.options()["epochs"] * models * seeds
    return total


def _run(job: Job, name: str, setting: float | None, hidden: int | None, seed: int) -> Run:
    model = make_model(name, job, job.hidden if hidden is None else hidden, seed)
    before = _gradients(job, model)
    history = model.fit()
    after, path = _gradients(job, model), None
    if job.path is not None:
        path = job.path(model)
    return Run(
        name,
        seed,
        setting,
        model.parameters,
        model.recurrent,
        history.seconds,
        model.step_seconds(),
        job.score(model, history),
        list(history.losses),
        list(history.val_losses),
        None if before is None or after is None else np.stack([before, after]),
        path,
    )


def _gradients(job: Job, model: Model) -> npt.NDArray[np.float64] | None:
    """(T,) the norm of dLoss/dh_t over that of the last step, the geometric mean of some samples.

    By themselves they would shrink with the error.
    """
    if job.task != "adding" or not isinstance(model, NetworkModel):
        return None
    norms = model.gradient_norms(adding_table(job.longest, GRADIENT_SAMPLES, 4))
    if norms is None:
        return None
    logs = np.log(np.maximum(norms, 1e-30))
    relative: npt.NDArray[np.float64] = np.exp((logs - logs[:, -1:]).mean(axis=0))
    return relative


# -- what is asked for ------------------------------------------------------------------------


def _jobs(
    data: Any,
    task: str | None,
    train_fraction: Any,
    length: Any,
    lookback: int | None,
    horizon: int,
    reading: dict[str, Any],
) -> tuple[dict[float | None, Job], str | None]:
    """The job of each setting, and what varies."""
    if task is not None:
        check_choice("task", task, (*TASKS, *TOYS))
    shares = shares_of(train_fraction)
    if task in TOYS:
        extra = [name for name, value in reading.items() if value]
        if data is not None or lookback is not None or extra:
            what = "data" if data is not None else extra[0] if extra else "lookback"
            raise InputError(f"the task {task} makes its own data; leave {what} out")
        if shares != [1.0]:
            raise InputError(f"train_fraction goes with data of your own, not with the task {task}")
        if task == "sine":
            return {None: sine_job()}, None
        return {float(n): adding_job(n) for n in lengths_of(length)}, LENGTH
    tokens = reading.pop("tokens", None)
    opened = open_data(data, task=task, horizon=horizon, **reading)
    job = make_job(opened, lookback=lookback, horizon=horizon, tokens=tokens)
    if shares == [1.0]:
        return {None: job}, None
    return {share: job.share(share) for share in shares}, SHARE
