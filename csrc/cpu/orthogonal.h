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
          normals_step_(vectors_of<Layout>(side) * V::size), y_(workspace.take<T>(side * stride_)),
          normals_(workspace.take<T>(4 * normals_step_)), v_(workspace.take<T>(normals_step_)) {}

    // out = factor Q F for the leading (fan_out, fan_in) part of Q, which has as many rows as the larger of them.
    // F and out are stored column by column, `stride` apart.
    void apply(const StreamPosition<Layout>& position, const T* f, T* out, int64_t stride, int64_t fan_out,
               int64_t fan_in, T factor) {
        const int64_t side = fan_out > fan_in ? fan_out : fan_in;
        for (int64_t p = 0; p < side * stride_; ++p) y_[p] = 0;
        for (int64_t j = 0; j < batch_; ++j)
            for (int64_t i = 0; i < fan_in; ++i)
                Layout::write(y_ + i * stride_ + j * unit, Layout::read(f + j * stride + i * unit));
        for (int64_t k = fan_in - 1; k >= 0; --k) {  // further ones would turn rows of zeros
            if (k == fan_in - 1 || k % 4 == 3)
                for (int64_t vector = 0; vector < vectors_of<Layout>(side); ++vector)
                    draw_columns<Law::gaussian>(position, vector, k / 4 * 4, 4, normals_ + vector * V::size,
                                                normals_step_);
            reflect(normals_ + k % 4 * normals_step_, k, side);
        }
        for (int64_t j = 0; j < batch_; ++j)
            for (int64_t i = 0; i < fan_out; ++i)
                Layout::write(out + j * stride + i * unit, Layout::read(y_ + i * stride_ + j * unit) * Entry(factor));
    }

private:
    // Turn rows k .. side - 1 of y by the reflection of the normals x.
    void reflect(const T* x, int64_t k, int64_t side) {
        V squares = V(T(0));
        for (int64_t i = k; i < side; ++i)
            squares = fma(Layout::spread(x + i * unit), Layout::spread(x + i * unit), squares);
        const V inverse = V(T(1)) / sqrt(squares), first = Layout::spread(x + k * unit) * inverse;
        const V sign = select(first < V(T(0)), V(T(-1)), V(T(1)));
        for (int64_t i = k; i < side; ++i) Layout::write(v_ + i * unit, Entry(Layout::spread(x + i * unit) * inverse));
        Layout::write(v_ + k * unit, Entry(first + sign));
        const V weight = sign / (V(T(1)) + abs(first));
        for_pieces<4>(0, vectors_, [&]<int R>(int64_t vector) {
            V along[R];
            for (V& sum : along) sum = V(T(0));
            for (int64_t i = k; i < side; ++i)
                for (int r = 0; r < R; ++r)
                    along[r] = fma(Layout::spread(v_ + i * unit), V::load(at(i, vector + r)), along[r]);
            for (V& sum : along) sum = sum * weight;
            for (int64_t i = k; i < side; ++i)
                for (int r = 0; r < R; ++r)
                    fma(Layout::spread(v_ + i * unit), along[r], -(sign * V::load(at(i, vector + r))))
                        .store(at(i, vector + r));
        });
    }

    T* at(int64_t row, int64_t vector) { return y_ + row * stride_ + vector * V::size; }

    int64_t batch_, stride_, vectors_, normals_step_;
    T* y_;        // rows of F, in the layout of the columns of a matrix: [side, batch]
    T* normals_;  // four columns of the gaussian matrix
    T* v_;
};

}  // namespace pyrank::PYRANK_ISA
