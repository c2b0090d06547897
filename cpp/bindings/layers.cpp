// layers.cpp: a network from the rows that describe its layers.
#include "bindings.h"

#include <algorithm>

namespace headgate {
namespace {

// One layer as Python describes it: {"kind", "name", "inputs", ...} (kernels.lower).
class LayerRow {
 public:
  explicit LayerRow(const nb::dict& row) : row_(row) {}

  template <class T>
  T get(const char* key) const {
    return nb::cast<T>(row_[key]);
  }
  bool has(const char* key) const { return row_.contains(key); }
  int64_t size(const char* key) const {
    const auto value = get<int64_t>(key);
    require(value >= 1 && value <= (int64_t{1} << 24), "a layer's size is out of range");
    return value;
  }

 private:
  nb::dict row_;
};

Cell cell_named(const std::string& name) {
  if (name == "gru") return Cell::gru;
  if (name == "gru_before") return Cell::gru_before;
  if (name == "lstm") return Cell::lstm;
  if (name == "rnn_tanh") return Cell::rnn_tanh;
  require(name == "rnn_relu", "unknown cell");
  return Cell::rnn_relu;
}

// The table that a dense layer shares with the row "tied" before it, if it has one.
std::optional<SharedTable> table_of(const LayerRow& row, int64_t width, Network* net) {
  if (!row.has("tied")) return std::nullopt;
  const auto tied = row.get<int64_t>("tied");
  require(tied >= 0 && tied < net->layer_count(), "no such layer to be tied to");
  Layer& below = net->layer(tied);
  require(below.vocabulary() == row.size("size") && below.output_size() == width,
          "tied weights: not the shape of the embedding's table");
  return below.share_table();
}

// widths: of the inputs. net: the layers so far.
std::unique_ptr<Layer> make_layer(const LayerRow& row, const std::vector<int64_t>& widths,
                                  Network* net) {
  const auto stream = static_cast<uint64_t>(net->layer_count()) + 1;
  const int64_t width = widths.empty() ? 0 : widths[0];
  const auto kind = row.get<std::string>("kind");
  if (kind == "recurrent")
    return make_recurrent(width, {cell_named(row.get<std::string>("cell")), row.size("size"),
                                  row.get<bool>("bidirectional"), row.get<bool>("layer_norm"),
                                  row.get<double>("recurrent_dropout"), stream});
  if (kind == "dense")
    return make_dense(width, row.size("size"), row.get<std::string>("activation"),
                      table_of(row, width, net));
  if (kind == "dropout")
    return make_dropout(width, row.get<double>("rate"), row.get<bool>("per_sequence"), stream);
  if (kind == "embedding") {
    const auto padding_index = row.get<int64_t>("padding_index");
    require(padding_index >= -1 && padding_index < row.size("vocabulary"),
            "padding_index is not in the vocabulary");
    return make_embedding(row.size("vocabulary"), row.size("size"), row.size("columns"),
                          padding_index, row.get<bool>("trainable"));
  }
  if (kind == "concat") return make_concat(widths);
  if (kind == "add") {
    require(std::all_of(widths.begin(), widths.end(), [&](int64_t w) { return w == width; }),
            "only equal widths can be added");
    return make_add(width, static_cast<int64_t>(widths.size()));
  }
  if (kind == "mean") return make_mean(width);
  if (kind == "crf") return make_crf(width);
  if (kind == "max") return make_max(width);
  if (kind == "attention" && row.get<std::string>("score") == "additive")
    return make_additive_attention(width, row.size("size"));
  require(kind == "last" || kind == "attention", "unknown layer kind");
  const auto split = row.get<int64_t>("split");
  require(split >= 0 && split <= width, "split is not within the width");
  return kind == "last" ? make_last(width, split) : make_dot_attention(width, split);
}

Output output_named(const std::string& name) {
  if (name == "none") return Output::none;
  if (name == "softmax") return Output::softmax;
  require(name == "sigmoid", "unknown output function");
  return Output::sigmoid;
}

}  // namespace

void init_network(Network* self, int64_t inputs, int64_t token_columns,
                  const std::vector<nb::dict>& layers, const std::string& output) {
  require(inputs >= 0 && token_columns >= 0 && inputs + token_columns >= 1 && !layers.empty(),
          "a network needs inputs and layers");
  new (self) Network(inputs, token_columns, output_named(output));
  for (const nb::dict& layer : layers) {
    const LayerRow row(layer);
    const auto sources = row.get<std::vector<int64_t>>("inputs");
    std::vector<int64_t> widths;
    const bool reads_tokens = layer.contains("token");
    require(sources.empty() == reads_tokens, "embeddings read tokens, all others read layers");
    for (const int64_t source : sources) {
      require(source >= Network::kInput && source < self->layer_count(), "no such layer to read");
      require(self->pooled(source) == self->pooled(sources[0]), "one input is pooled, one is not");
      widths.push_back(source == Network::kInput ? inputs : self->layer(source).output_size());
    }
    const int64_t token = reads_tokens ? row.get<int64_t>("token") : 0;
    require(!reads_tokens || (token >= 0 && token + row.size("columns") <= token_columns),
            "no such token column");
    self->add(row.get<std::string>("name"), make_layer(row, widths, self), sources, token);
  }
  self->finish();
}

}  // namespace headgate
