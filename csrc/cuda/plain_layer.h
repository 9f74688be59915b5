// One layer whose numbers are rounded one by one: the same operations in the same order as in csrc/cpu. It takes any
// width, batch and precision, on every device.
#pragma once
#include "activation.h"
#include "multiply.h"
#include "normalize.h"
#include "panel.h"

namespace pyrank::cuda {

template <class T_>
class PlainLayer {
public:
    using T = T_;
    using State = Matrix<T>;
    static constexpr bool is_compiled = true, kept_in_memory = true;
    static constexpr int max_threads = 256, blocks_abreast = spares_registers ? 2 : 1;  // on a multiprocessor, at least

    // One thread for each tile of the product with a panel, if that is not too many.
    static int threads(const ChainParams& chain) {
        return pieces(smaller(int(chain.width), panel_rows), tile) * pieces(int(chain.batch), tile);
    }

    PYRANK_HD PlainLayer(const ChainParams& chain, Workspace& workspace)
        : chain_(chain), width_(int(chain.width)), batch_(int(chain.batch)),
          panel_(workspace.take_matrix<T>(smaller(width_, panel_rows), panel_depth)),
          next_(take_state(chain, workspace)), f_(workspace.take_matrix<T>(chain.needs_f() ? width_ : 0, batch_)) {}

    // Memory for a state, or for the rotated state of a measurement.
    PYRANK_HD static State take_state(const ChainParams& chain, Workspace& workspace) {
        const int width = int(chain.width), batch = int(chain.batch);
        return {workspace.take<T>(rotated_size(width, batch)), stride_of(width)};
    }

    // F(H), as `advance` needs it: with its row means taken off if that changes nothing exactly.
    PYRANK_DEVICE void prepare(const State& h, int rows) const {
        activate(h, rows);
        centre(rows);
    }
    // From H to H'. Rows that it does not have are left as they are; count() for each row of zeros.
    template <class Position, class Count>
    PYRANK_DEVICE void advance(State& h, const WeightParams& weights, Position position, Count count) {
        advance(h, weights, position, [](const Lines<T>&, int) {}, count);
    }

    // There is no faster code than that of step().
    template <class... Any>
    PYRANK_DEVICE bool run(const Any&...) const {
        return false;
    }

    // Free between two layers.
    PYRANK_DEVICE Array<T> scratch() const { return next_.data; }

protected:
    PYRANK_DEVICE void activate(const State& h, int rows) const;
    PYRANK_DEVICE void centre(int rows) const;
    // What the weights multiply.
    PYRANK_DEVICE Matrix<T> operand(const State& h) const { return chain_.needs_f() ? f_ : h; }
    // clear(lines, line) may change a line before it is rescaled.
    template <class Position, class Clear, class Count>
    PYRANK_DEVICE void advance(State& h, const WeightParams& weights, Position position, Clear clear, Count count);

    const ChainParams& chain_;
    int width_, batch_;

private:
    PYRANK_DEVICE void multiply_weights(const Matrix<T>& h, const Matrix<T>& f, const WeightParams& weights,
                                        const StreamPosition& position) const;

    Matrix<T> panel_, next_, f_;
};

template <class T>
template <class Position, class Clear, class Count>
PYRANK_DEVICE void PlainLayer<T>::advance(State& h, const WeightParams& weights, Position position, Clear clear,
                                          Count count) {
    const int rows = int(weights.fan_out);
    multiply_weights(h, operand(h), weights, position());
    normalize(chain_.over_features ? feature_lines(next_, rows, batch_) : batch_lines(next_, rows, batch_), chain_,
              clear, count);
    const Matrix<T> before = h;
    h = next_;
    next_ = before;
}

template <class T>
PYRANK_DEVICE void PlainLayer<T>::activate(const State& h, int rows) const {
    if (!chain_.needs_f()) return;
    for_entries(rows, batch_, [&](int i, int j) { f_(i, j) = activated(chain_.activation, T(h(i, j))); });
    barrier();
}

template <class T>
PYRANK_DEVICE void PlainLayer<T>::centre(int rows) const {
    if (!chain_.centres_f()) return;
    const Lines<T> lines = batch_lines(f_, rows, batch_);
    for_each(0, rows, [&](int row) { recentre(lines, row); });
    barrier();
}

// next = H + gamma W F, one panel of W at a time; the sum over k runs in ascending order whatever the panels.
template <class T>
PYRANK_DEVICE void PlainLayer<T>::multiply_weights(const Matrix<T>& h, const Matrix<T>& f, const WeightParams& weights,
                                                   const StreamPosition& position) const {
    const int fan_out = int(weights.fan_out), fan_in = int(weights.fan_in);
    const T gamma = T(chain_.gamma);
    for (int row = 0; row < fan_out; row += panel_rows)
        for (int first = 0; first < fan_in; first += panel_depth) {
            const int rows = smaller(panel_rows, fan_out - row), depth = smaller(panel_depth, fan_in - first);
            const bool skip = chain_.skip && first + depth == fan_in;
            draw_panel(chain_.law, weights, position, row, rows, first, depth, panel_);
            multiply<Part::all, T>(
                rows, batch_, depth, [&](int i, int k) -> T { return panel_(i, k); },
                [&](int k, int j) -> T { return f(first + k, j); },
                [&](int i, int j) { return first ? T(next_(row + i, j)) : T(0); },
                [&](int i, int j, T sum) { next_(row + i, j) = skip ? fma(gamma, sum, T(h(row + i, j))) : sum; });
            barrier();
        }
}

}  // namespace pyrank::cuda
