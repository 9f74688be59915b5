// A Haar orthogonal matrix times F, without ever forming it (Stewart, SIAM J. Numer. Anal. 17, 403, 1980): one
// reflection for each column of a gaussian matrix, of which only the lower triangle is drawn.
//
// Q_d = R (1 + Q_{d-1}), a direct sum. R takes the first unit vector to u, uniform on the sphere: it is -s times the
// Householder reflection along v = u + s e_1, s being the sign of u_1, which never cancels.
#pragma once
#include "panel.h"

namespace pyrank::PYRANK_ISA {

template <class Layout>
class Reflections {
public:
    using V = typename Layout::V;
    using T = typename Layout::T;
    using Entry = typename Layout::Entry;
    static constexpr int unit = Layout::unit;

    // For matrices of up to `side` rows and columns, and F of up to `side` rows and `batch` columns.
    Reflections(int64_t side, int64_t batch, Workspace& workspace)
        : batch_(batch), stride_(stride_of<Layout>(batch)), vectors_(vectors_of<Layout>(batch)),
          v_step_(stride_of<Layout>(side)), y_(workspace.take<T>(side * stride_)),
          v_(workspace.take<T>(reflections * v_step_)), sign_(workspace.take<T>(reflections * V::size)),
          weight_(workspace.take<T>(reflections * V::size)) {}

    // out = factor Q F for the leading (fan_out, fan_in) part of Q, which has as many rows as the larger of them.
    // F and out are stored column by column, `stride` apart.
    void apply(const StreamPosition<Layout>& position, const T* f, T* out, int64_t stride, int64_t fan_out,
               int64_t fan_in, T factor) {
        const int64_t side = fan_out > fan_in ? fan_out : fan_in;
        for (int64_t p = 0; p < side * stride_; ++p) y_[p] = 0;
        for (int64_t j = 0; j < batch_; ++j)
            for (int64_t i = 0; i < fan_in; ++i)
                Layout::write(y_ + i * stride_ + j * unit, Layout::read(f + j * stride + i * unit));
        // Reflections beyond fan_in would turn rows of zeros.
        for (int64_t first = (fan_in - 1) / reflections * reflections; first >= 0; first -= reflections) {
            const int count = int(fan_in - first < reflections ? fan_in - first : reflections);
            prepare(position, first, count, side);
            for_pieces<2>(0, vectors_, [&]<int R>(int64_t vector) {
                for (int q = count - 1; q >= 0; --q) reflect<R>(first + q, q, vector, side);
            });
        }
        for (int64_t j = 0; j < batch_; ++j)
            for (int64_t i = 0; i < fan_out; ++i)
                Layout::write(out + j * stride + i * unit, Layout::read(y_ + i * stride_ + j * unit) * Entry(factor));
    }

private:
    static constexpr int reflections = 16;  // prepared at a time, and applied while a few columns of F stay in cache
    static constexpr int sums = 4;          // taken side by side, each over every fourth row, to hide their latency

    // Draw columns first, first + 1, ... of the gaussian matrix from their diagonal on, and turn each into its v.
    void prepare(const StreamPosition<Layout>& position, int64_t first, int count, int64_t side) {
        for_pieces<row_block>(first / Layout::rows, vectors_of<Layout>(side), [&]<int R>(int64_t vector) {
            draw_columns<Law::gaussian, R>(position, vector, first, count, v_ + vector * V::size, v_step_);
        });
        for (int q = 0; q < count; ++q) {
            T* const v = v_ + q * v_step_;
            const int64_t k = first + q;
            const V diagonal = Layout::spread(v + k * unit);  // 0 once in 10^7: alone it would have no direction
            Layout::write(v + k * unit, Entry(select(diagonal == V(T(0)), V(T(0x1p-40)), diagonal)));
            const V inverse = V(T(1)) / sqrt(sum_of_squares(v, k, side));
            for (int64_t vector = k / Layout::rows; vector < vectors_of<Layout>(side); ++vector)
                (V::load(v + vector * V::size) * inverse).store(v + vector * V::size);
            const V u = Layout::spread(v + k * unit), sign = select(u < V(T(0)), V(T(-1)), V(T(1)));
            Layout::write(v + k * unit, Entry(u + sign));
            sign.store(sign_ + q * V::size);
            (sign / (V(T(1)) + abs(u))).store(weight_ + q * V::size);
        }
    }

    static V sum_of_squares(const T* v, int64_t first, int64_t last) {
        V squares[sums];
        for (V& sum : squares) sum = V(T(0));
        int64_t i = first;
        for (; i + sums <= last; i += sums)
            for (int s = 0; s < sums; ++s) {
                const V x = Layout::spread(v + (i + s) * unit);
                squares[s] = fma(x, x, squares[s]);
            }
        for (int s = 0; i + s < last; ++s) {
            const V x = Layout::spread(v + (i + s) * unit);
            squares[s] = fma(x, x, squares[s]);
        }
        return (squares[0] + squares[1]) + (squares[2] + squares[3]);
    }

    // Turn rows k .. side - 1 of a few columns of F by the reflection in slot q.
    template <int R>
    PYRANK_INLINE void reflect(int64_t k, int q, int64_t vector, int64_t side) {
        const T* const v = v_ + q * v_step_;
        T* const y = y_ + vector * V::size;
        V along[R][sums];
        for (auto& of_vector : along)
            for (V& sum : of_vector) sum = V(T(0));
        int64_t i = k;
        for (; i + sums <= side; i += sums)
            for (int s = 0; s < sums; ++s)
                for (int r = 0; r < R; ++r)
                    along[r][s] = fma(Layout::spread(v + (i + s) * unit), V::load(y + (i + s) * stride_ + r * V::size),
                                      along[r][s]);
        for (int s = 0; i + s < side; ++s)
            for (int r = 0; r < R; ++r)
                along[r][s] =
                    fma(Layout::spread(v + (i + s) * unit), V::load(y + (i + s) * stride_ + r * V::size), along[r][s]);
        const V weight = V::load(weight_ + q * V::size), sign = V::load(sign_ + q * V::size);
        V share[R];
        for (int r = 0; r < R; ++r) share[r] = ((along[r][0] + along[r][1]) + (along[r][2] + along[r][3])) * weight;
        for (i = k; i < side; ++i)
            for (int r = 0; r < R; ++r) {
                T* const p = y + i * stride_ + r * V::size;
                fma(Layout::spread(v + i * unit), share[r], -(sign * V::load(p))).store(p);
            }
    }

    int64_t batch_, stride_, vectors_, v_step_;
    T* y_;  // rows of F, in the layout of the columns of a matrix: [side, batch]
    T* v_;  // [reflections, side]
    T *sign_, *weight_;
};

}  // namespace pyrank::PYRANK_ISA
