// float16 and bfloat16: numbers are rounded to them after every operation, which is computed in float32.
#pragma once

template <class Format>
struct Half {
    unsigned short bits;

    Half() = default;
    Half(float value) : bits(Format::rounded(value)) {}
    Half(double value) : Half(float(value)) {}
    Half(bool value) : Half(float(value)) {}
    Half(int value) : Half(float(value)) {}
    Half(unsigned value) : Half(float(value)) {}
    Half(long value) : Half(float(value)) {}
    Half(unsigned long value) : Half(float(value)) {}
    Half(long long value) : Half(float(value)) {}
    Half(unsigned long long value) : Half(float(value)) {}
    template <class Other>
    Half(Half<Other> value) : Half(float(value)) {}
    operator float() const { return Format::widened(bits); }

    Half& operator+=(Half other) { return *this = Half(float(*this) + float(other)); }
    Half& operator-=(Half other) { return *this = Half(float(*this) - float(other)); }
    Half& operator*=(Half other) { return *this = Half(float(*this) * float(other)); }
    Half& operator/=(Half other) { return *this = Half(float(*this) / float(other)); }
};

struct Float16 {
    static unsigned short rounded(float value) {
        unsigned bits;
        __builtin_memcpy(&bits, &value, 4);
        unsigned sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
        if (size > 0x7f800000) return sign | 0x7e00;   // not a number
        if (size >= 0x477ff000) return sign | 0x7c00;  // 65520 and more
        if (size < 0x38800000) {
            // Below 2⁻¹⁴: a multiple of 2⁻²⁴, the distance of the numbers around one half.
            float half;
            __builtin_memcpy(&half, &size, 4);
            half += 0.5f;
            __builtin_memcpy(&size, &half, 4);
            return sign | (size - 0x3f000000);
        }
        return sign | ((size + 0xfff + (size >> 13 & 1) - 0x38000000) >> 13);  // to the nearest, ties to even
    }
    static float widened(unsigned short bits) {
        unsigned size = bits & 0x7fff, wide;
        if (size < 0x400) {
            float small = size * 0x1p-24f;
            __builtin_memcpy(&wide, &small, 4);
        } else {
            wide = size < 0x7c00 ? (size << 13) + 0x38000000 : 0x7f800000 | (size & 0x3ff) << 13;
        }
        wide |= unsigned(bits & 0x8000) << 16;
        float value;
        __builtin_memcpy(&value, &wide, 4);
        return value;
    }
};

struct BFloat16 {
    static unsigned short rounded(float value) {
        unsigned bits;
        __builtin_memcpy(&bits, &value, 4);
        if ((bits & 0x7fffffff) > 0x7f800000) return bits >> 16 | 0x40;  // not a number
        return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;                 // to the nearest, ties to even
    }
    static float widened(unsigned short bits) {
        unsigned wide = unsigned(bits) << 16;
        float value;
        __builtin_memcpy(&value, &wide, 4);
        return value;
    }
};

typedef Half<Float16> __half;
typedef Half<BFloat16> __nv_bfloat16;

template <class T>
struct HalfPair {
    T x, y;
    HalfPair() = default;
    HalfPair(T x, T y) : x(x), y(y) {}
};

typedef HalfPair<__half> __half2;
typedef HalfPair<__nv_bfloat16> __nv_bfloat162;

#define HALVES_BINARY(operation)                                                                          \
    template <class F> inline Half<F> operator operation(Half<F> a, Half<F> b) {                          \
        return Half<F>(float(a) operation float(b));                                                      \
    }                                                                                                     \
    template <class T> inline HalfPair<T> operator operation(HalfPair<T> a, HalfPair<T> b) {              \
        return HalfPair<T>(a.x operation b.x, a.y operation b.y);                                         \
    }
HALVES_BINARY(+)
HALVES_BINARY(-)
HALVES_BINARY(*)
HALVES_BINARY(/)
#undef HALVES_BINARY

#define HALVES_COMPARE(operation) \
    template <class F> inline bool operator operation(Half<F> a, Half<F> b) { return float(a) operation float(b); }
HALVES_COMPARE(<)
HALVES_COMPARE(>)
HALVES_COMPARE(<=)
HALVES_COMPARE(>=)
HALVES_COMPARE(==)
HALVES_COMPARE(!=)
#undef HALVES_COMPARE

template <class F> inline Half<F> operator-(Half<F> a) { return Half<F>(-float(a)); }
template <class T> inline HalfPair<T> operator-(HalfPair<T> a) { return HalfPair<T>(-a.x, -a.y); }

// Functions of one and of a pair: hexp and h2exp.
#define HALVES_FUNCTION(one, pair, value)                                                       \
    template <class F> inline Half<F> one(Half<F> a) { float x = a; return Half<F>(value); }    \
    template <class T> inline HalfPair<T> pair(HalfPair<T> a) { return HalfPair<T>(one(a.x), one(a.y)); }
HALVES_FUNCTION(hexp, h2exp, __builtin_expf(x))
HALVES_FUNCTION(hlog, h2log, __builtin_logf(x))
HALVES_FUNCTION(hsqrt, h2sqrt, __builtin_sqrtf(x))
HALVES_FUNCTION(hrsqrt, h2rsqrt, 1 / __builtin_sqrtf(x))
HALVES_FUNCTION(hrcp, h2rcp, 1 / x)
HALVES_FUNCTION(hsin, h2sin, __builtin_sinf(x))
HALVES_FUNCTION(hcos, h2cos, __builtin_cosf(x))
HALVES_FUNCTION(htanh, h2tanh, __builtin_tanhf(x))
HALVES_FUNCTION(hfloor, h2floor, __builtin_floorf(x))
HALVES_FUNCTION(hceil, h2ceil, __builtin_ceilf(x))
HALVES_FUNCTION(htrunc, h2trunc, __builtin_truncf(x))
HALVES_FUNCTION(hrint, h2rint, __builtin_rintf(x))
HALVES_FUNCTION(__habs, __habs2, __builtin_fabsf(x))
HALVES_FUNCTION(__hneg, __hneg2, -x)
#undef HALVES_FUNCTION

// As in CUDA, the other number where one is none.
#define HALVES_CHOICE(one, pair, choose)                                                                         \
    template <class F> inline Half<F> one(Half<F> a, Half<F> b) { return Half<F>(choose(float(a), float(b))); }  \
    template <class T> inline HalfPair<T> pair(HalfPair<T> a, HalfPair<T> b) {                                   \
        return HalfPair<T>(one(a.x, b.x), one(a.y, b.y));                                                        \
    }
HALVES_CHOICE(__hmax, __hmax2, __builtin_fmaxf)
HALVES_CHOICE(__hmin, __hmin2, __builtin_fminf)
#undef HALVES_CHOICE

template <class F> inline Half<F> __hfma(Half<F> a, Half<F> b, Half<F> c) {
    return Half<F>(__builtin_fmaf(a, b, c));
}
template <class T> inline HalfPair<T> __hfma2(HalfPair<T> a, HalfPair<T> b, HalfPair<T> c) {
    return HalfPair<T>(__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y));
}
template <class F> inline bool __hisnan(Half<F> a) { return __builtin_isnan(float(a)); }
template <class F> inline bool __hisinf(Half<F> a) { return __builtin_isinf(float(a)) != 0; }

inline float __half2float(__half a) { return a; }
inline __half __float2half(float a) { return a; }
inline __half __float2half_rn(float a) { return a; }
inline float __bfloat162float(__nv_bfloat16 a) { return a; }
inline __nv_bfloat16 __float2bfloat16(float a) { return a; }
inline __nv_bfloat16 __float2bfloat16_rn(float a) { return a; }
template <class T> inline float __low2float(HalfPair<T> a) { return a.x; }
template <class T> inline float __high2float(HalfPair<T> a) { return a.y; }
