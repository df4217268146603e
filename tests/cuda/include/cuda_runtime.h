// The CUDA C++ that CubeCL writes, for the processor. No header of the standard library: reading those takes
// longer than compiling a kernel.
#pragma once
#include "fibers.h"

#define __global__
#define __grid_constant__
#define __launch_bounds__(...)
#define __cluster_dims__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
#define dynamic_shared_mem fiber_shared
#define threadIdx (fiber_now->position)
#define blockIdx fiber_block_position
#define blockDim fiber_block
#define gridDim fiber_grid
#define warpSize 32

typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned long ulong;

struct uint2 { unsigned x, y; };
struct uint3 { unsigned x, y, z; };
struct uint4 { unsigned x, y, z, w; };
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint3 make_uint3(unsigned x, unsigned y, unsigned z) { return {x, y, z}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

#define RUNTIME_FUNCTION(name)                                        \
    inline float name(float x) { return __builtin_##name##f(x); }     \
    inline double name(double x) { return __builtin_##name(x); }
RUNTIME_FUNCTION(exp)
RUNTIME_FUNCTION(expm1)
RUNTIME_FUNCTION(log)
RUNTIME_FUNCTION(log1p)
RUNTIME_FUNCTION(sqrt)
RUNTIME_FUNCTION(sin)
RUNTIME_FUNCTION(cos)
RUNTIME_FUNCTION(tan)
RUNTIME_FUNCTION(asin)
RUNTIME_FUNCTION(acos)
RUNTIME_FUNCTION(atan)
RUNTIME_FUNCTION(sinh)
RUNTIME_FUNCTION(cosh)
RUNTIME_FUNCTION(tanh)
RUNTIME_FUNCTION(asinh)
RUNTIME_FUNCTION(acosh)
RUNTIME_FUNCTION(atanh)
RUNTIME_FUNCTION(erf)
RUNTIME_FUNCTION(floor)
RUNTIME_FUNCTION(ceil)
RUNTIME_FUNCTION(trunc)
RUNTIME_FUNCTION(round)
RUNTIME_FUNCTION(rint)
#undef RUNTIME_FUNCTION
inline float powf(float x, float y) { return __builtin_powf(x, y); }
inline double pow(double x, double y) { return __builtin_pow(x, y); }
inline float fmodf(float x, float y) { return __builtin_fmodf(x, y); }
inline float atan2(float x, float y) { return __builtin_atan2f(x, y); }
inline float hypotf(float x, float y) { return __builtin_hypotf(x, y); }
inline float fma(float x, float y, float z) { return __builtin_fmaf(x, y, z); }
inline double fma(double x, double y, double z) { return __builtin_fma(x, y, z); }
inline float rsqrt(float x) { return 1 / __builtin_sqrtf(x); }
inline double rsqrt(double x) { return 1 / __builtin_sqrt(x); }
inline float abs(float x) { return __builtin_fabsf(x); }
inline double abs(double x) { return __builtin_fabs(x); }
inline int abs(int x) { return x < 0 ? -x : x; }
inline long long abs(long long x) { return x < 0 ? -x : x; }
inline bool isnan(float x) { return __builtin_isnan(x); }
inline bool isnan(double x) { return __builtin_isnan(x); }
inline bool isinf(float x) { return __builtin_isinf(x) != 0; }
inline bool isinf(double x) { return __builtin_isinf(x) != 0; }

// Integers of one type, and numbers of which one is none. CUDA's convert as C does, for which one
// template over the type of the sum is enough.
template <class A, class B> using Common = decltype(A() + B());
template <class T> inline T least(T a, T b) { return b < a ? b : a; }
template <class T> inline T most(T a, T b) { return a < b ? b : a; }
inline float least(float a, float b) { return __builtin_fminf(a, b); }
inline float most(float a, float b) { return __builtin_fmaxf(a, b); }
inline double least(double a, double b) { return __builtin_fmin(a, b); }
inline double most(double a, double b) { return __builtin_fmax(a, b); }
template <class A, class B> inline Common<A, B> min(A a, B b) { return least(Common<A, B>(a), Common<A, B>(b)); }
template <class A, class B> inline Common<A, B> max(A a, B b) { return most(Common<A, B>(a), Common<A, B>(b)); }

inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned long long)a * b >> 32; }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned __int128)a * b >> 64;
}
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll(x) : 64; }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }

inline void __syncthreads() { fiber_wait_block(); }
inline void __syncwarp() { fiber_wait_warp(); }
inline void __threadfence() {}

/// Gives a value to the other threads of the warp and waits for theirs: the slots of all lanes.
template <class T>
inline const FiberSlot* give(T value) {
    static_assert(sizeof(T) <= 8, "a slot is eight bytes");
    unsigned exchange = ++fiber_now->exchanges;
    FiberSlot* slots = fiber_warps[fiber_now->warp].slots[exchange & 1];
    __builtin_memcpy(&slots[fiber_now->lane].value, &value, sizeof value);
    slots[fiber_now->lane].exchange = exchange;
    fiber_wait_warp();
    return slots;
}
/// What the thread of that lane gives; its own where there is none.
template <class T>
inline T exchanged(T value, unsigned from) {
    const FiberSlot* slots = give(value);
    if (from < 32 && slots[from].exchange == fiber_now->exchanges)
        __builtin_memcpy(&value, &slots[from].value, sizeof value);
    return value;
}
template <class T> inline T __shfl_sync(unsigned, T value, unsigned lane) { return exchanged(value, lane & 31); }
template <class T> inline T __shfl_xor_sync(unsigned, T value, unsigned mask) {
    return exchanged(value, fiber_now->lane ^ mask);
}
template <class T> inline T __shfl_up_sync(unsigned, T value, unsigned by) {
    return exchanged(value, fiber_now->lane - by);
}
template <class T> inline T __shfl_down_sync(unsigned, T value, unsigned by) {
    return exchanged(value, fiber_now->lane + by);
}
inline unsigned __ballot_sync(unsigned, bool vote) {
    const FiberSlot* slots = give<unsigned long long>(vote);
    unsigned votes = 0;
    for (unsigned lane = 0; lane < 32; lane++)
        if (slots[lane].exchange == fiber_now->exchanges && slots[lane].value) votes |= 1u << lane;
    return votes;
}
inline bool __any_sync(unsigned mask, bool vote) { return __ballot_sync(mask, vote) != 0; }
inline bool __all_sync(unsigned mask, bool vote) { return __ballot_sync(mask, !vote) == 0; }

// One thread runs at a time.
template <class T> inline T swapped(T* at, T value) {
    T before = *at;
    *at = value;
    return before;
}
template <class T> inline T atomicAdd(T* at, T value) { return swapped(at, T(*at + value)); }
template <class T> inline T atomicMax(T* at, T value) { return swapped(at, max(*at, value)); }
template <class T> inline T atomicMin(T* at, T value) { return swapped(at, min(*at, value)); }
template <class T> inline T atomicExch(T* at, T value) { return swapped(at, value); }
template <class T> inline T atomicCAS(T* at, T expected, T value) {
    return swapped(at, *at == expected ? value : *at);
}

/// Calls a kernel with what the pointers point to.
template <class T> struct Plain { typedef T type; };
template <class T> struct Plain<const T> { typedef T type; };
template <int... I> struct Indices {};
template <int N, int... I> struct Upto : Upto<N - 1, N - 1, I...> {};
template <int... I> struct Upto<0, I...> { typedef Indices<I...> type; };
template <class... A, int... I>
inline void fiber_call_each(void (*kernel)(A...), void** arguments, Indices<I...>) {
    kernel(*static_cast<typename Plain<A>::type*>(arguments[I])...);
}
template <class... A>
inline void fiber_call(void (*kernel)(A...), void** arguments) {
    fiber_call_each(kernel, arguments, typename Upto<sizeof...(A)>::type());
}
