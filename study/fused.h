// What fused.cpp and acting.cpp share: registers of the processor, networks and their activations.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#ifdef __AVX512F__
constexpr int LANES = 16, WIDE = 4;  // floats of a register, registers of a tile's row
#else
constexpr int LANES = 8, WIDE = 2;
#endif
constexpr int TALL = 6;    // rows of a tile; with four, too few sums to hide what one takes: 1.2 to 1.4 times the time
constexpr int BLOCK = 64;  // samples

typedef float V __attribute__((vector_size(4 * LANES)));
typedef float Loose __attribute__((vector_size(4 * LANES), aligned(4)));  // the same at any address
typedef int32_t I __attribute__((vector_size(4 * LANES)));
typedef int64_t Int;

static V load(const float* x) { return *reinterpret_cast<const Loose*>(x); }
static void store(float* x, V v) { *reinterpret_cast<Loose*>(x) = v; }
static float sum(V v) {
    float total = 0;
    for (int i = 0; i < LANES; i++) total += v[i];
    return total;
}
static Int padded(Int n) { return (n + LANES - 1) / LANES * LANES; }
static V all(float x) { return x - V{}; }  // of its lanes

// The product, rounded before anything is added to it.
template <class T>
static T times(T a, T b) {
    T product = a * b;
#ifdef __AVX__
    asm("" : "+v"(product));
#endif
    return product;
}

// tanh x = E / (E + 2) with E = e^2x - 1, to 2e-7 relative; NaN stays NaN.
static V tanh(V x) {
    V y = x + x;
    y = y > 20 ? V{} + 20.0f : y;
    y = y < -20 ? V{} - 20.0f : y;
    const V magic = V{} + 12582912.0f;  // 1.5 * 2^23: its last bits are whole numbers
    V whole = y * 1.44269504f + magic;
    V r = y - (whole - magic) * 0.693147181f;
    I bits = (reinterpret_cast<I>(whole) << 23) + (127 << 23);
    V power = reinterpret_cast<V>(bits);  // 2^whole
    V less = V{} + 1.0f / 5040;           // e^r - 1 by its series, |r| < 0.35
    for (float factor : {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f}) less = less * r + factor;
    V e = power * (less * r) + (power - 1);
    return e / (e + 2);
}

// The activation of x, and its slope where it is h.
static V activation(bool relu, V x) { return relu ? (x < 0 ? V{} : x) : tanh(x); }
static V slope(bool relu, V h) { return relu ? (h > 0 ? V{} + 1.0f : V{}) : 1 - h * h; }

struct Network {
    Int layers;
    const Int* sizes;  // inputs, hidden ..., outputs, and behind them whether it has ReLU instead of tanh

    bool relu() const { return sizes[layers + 1]; }
    Int in(Int layer) const { return sizes[layer]; }
    Int out(Int layer) const { return sizes[layer + 1]; }
    Int parameters() const {
        Int sum = 0;
        for (Int l = 0; l < layers; l++) sum += (in(l) + 1) * out(l);
        return sum;
    }
    Int features() const {  // what a block keeps: every layer's input
        Int sum = 0;
        for (Int l = 0; l < layers; l++) sum += in(l);
        return sum;
    }
    Int widest() const {
        Int most = 0;
        for (Int l = 0; l <= layers; l++) most = sizes[l] > most ? sizes[l] : most;
        return most;
    }
};
