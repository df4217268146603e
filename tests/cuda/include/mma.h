// Products of matrices by a warp. Every thread of it holds the whole of each matrix.
#pragma once
#include "cuda_runtime.h"

namespace nvcuda {
namespace wmma {

struct matrix_a {};
struct matrix_b {};
struct accumulator {};
struct row_major {};
struct col_major {};
enum layout_t { mem_row_major, mem_col_major };

namespace precision {
struct tf32 {};
}

template <class T> struct Element { typedef T type; };
template <> struct Element<precision::tf32> { typedef float type; };

template <class Use, int M, int N, int K> struct Extent;
template <int M, int N, int K> struct Extent<matrix_a, M, N, K> { enum { rows = M, columns = K }; };
template <int M, int N, int K> struct Extent<matrix_b, M, N, K> { enum { rows = K, columns = N }; };
template <int M, int N, int K> struct Extent<accumulator, M, N, K> { enum { rows = M, columns = N }; };

template <class Use, int M, int N, int K, class T, class Layout = void>
struct fragment {
    enum {
        rows = Extent<Use, M, N, K>::rows,
        columns = Extent<Use, M, N, K>::columns,
        num_elements = rows * columns,
    };
    typename Element<T>::type x[num_elements];
};

inline float __float_to_tf32(float value) {
    unsigned bits;
    __builtin_memcpy(&bits, &value, 4);
    if ((bits & 0x7fffffff) > 0x7f800000) return value;  // not a number
    bits = (bits + 0x1000) & 0xffffe000;  // ten bits of the fraction are left
    __builtin_memcpy(&value, &bits, 4);
    return value;
}

template <class Fragment, class T>
inline void load(Fragment& fragment, const T* from, unsigned lead, bool by_columns) {
    __syncwarp();
    for (int row = 0; row < fragment.rows; row++)
        for (int column = 0; column < fragment.columns; column++)
            fragment.x[row * fragment.columns + column] =
                by_columns ? from[column * lead + row] : from[row * lead + column];
    __syncwarp();
}

template <class Use, int M, int N, int K, class E, class T>
inline void load_matrix_sync(fragment<Use, M, N, K, E, row_major>& fragment, const T* from, unsigned lead) {
    load(fragment, from, lead, false);
}
template <class Use, int M, int N, int K, class E, class T>
inline void load_matrix_sync(fragment<Use, M, N, K, E, col_major>& fragment, const T* from, unsigned lead) {
    load(fragment, from, lead, true);
}
template <int M, int N, int K, class E, class T>
inline void load_matrix_sync(fragment<accumulator, M, N, K, E>& fragment, const T* from, unsigned lead,
                             layout_t layout) {
    load(fragment, from, lead, layout == mem_col_major);
}

template <int M, int N, int K, class E, class T>
inline void store_matrix_sync(T* to, const fragment<accumulator, M, N, K, E>& fragment, unsigned lead,
                              layout_t layout) {
    __syncwarp();
    for (int row = 0; row < M; row++)
        for (int column = 0; column < N; column++)
            (layout == mem_col_major ? to[column * lead + row] : to[row * lead + column]) =
                fragment.x[row * N + column];
    __syncwarp();
}

template <class Fragment, class T>
inline void fill_fragment(Fragment& fragment, T value) {
    for (auto& element : fragment.x) element = value;
}

template <int M, int N, int K, class A, class LayoutA, class B, class LayoutB, class C, class D>
inline void mma_sync(fragment<accumulator, M, N, K, D>& d, const fragment<matrix_a, M, N, K, A, LayoutA>& a,
                     const fragment<matrix_b, M, N, K, B, LayoutB>& b,
                     const fragment<accumulator, M, N, K, C>& c) {
    for (int row = 0; row < M; row++)
        for (int column = 0; column < N; column++) {
            float sum = c.x[row * N + column];
            for (int k = 0; k < K; k++) sum += float(a.x[row * K + k]) * float(b.x[k * N + column]);
            d.x[row * N + column] = sum;
        }
}

}  // namespace wmma
}  // namespace nvcuda
