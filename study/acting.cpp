// A fleet's policies between two steps of the environments, for float32 on one core: raw observations standardised,
// passed through each run's network, and sampled from; see fused.py and rollout.collect.
//
// A step has one observation per run, so that it is the outputs of a layer that fill the vector registers: weights are
// turned once per rollout. What one-hot observations multiply by zero is left out.
//
// tests/test_fused.py: actions against those of NumPy in float64, samples against NumPy's bit by bit.

#include "fused.h"

// y [outs] = start + A^T x for one sample, A [in][outs], outs a multiple of LANES.
template <int N>
static void affine(const float* a, Int in, Int outs, const float* x, const float* start, float* y) {
    V sums[N];
    for (int k = 0; k < N; k++) sums[k] = load(start + k * LANES);
    for (Int i = 0; i < in; i++)
        for (int k = 0; k < N; k++) sums[k] += x[i] * load(a + i * outs + k * LANES);
    for (int k = 0; k < N; k++) store(y + k * LANES, sums[k]);
}

static void affine(const float* a, Int in, Int outs, const float* x, const float* start, float* y) {
    for (Int o = 0, step; o < outs; o += step * LANES) {
        Int left = (outs - o) / LANES;
        step = left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
        auto use = step == 8 ? affine<8> : step == 4 ? affine<4> : step == 2 ? affine<2> : affine<1>;
        use(a + o, in, outs, x, start + o, y + o);
    }
}

static float standardised(double x, double mean, double scale, double bound) {  // rollout.standardise
    double y = (x - mean) / scale;
    return float(y < -bound ? -bound : y > bound ? bound : y);
}

// A run's policy while it acts: of each layer W^T [in][padded outs] and behind it b, then, of the first layer, what comes
// before its activation where the raw observation is 0.
struct Acting {
    const Network& net;
    double bound;  // of standardised observations

    Int size() const {
        Int sum = padded(net.out(0));
        for (Int l = 0; l < net.layers; l++) sum += (net.in(l) + 1) * padded(net.out(l));
        return sum;
    }

    void begin(const float* theta, const double* mean, const double* scale, float* turned) const {
        std::memset(turned, 0, 4 * size());
        std::vector<float> x(net.in(0));
        for (Int i = 0; i < net.in(0); i++) x[i] = standardised(0, mean[i], scale[i], bound);
        float *to = turned, *at_zero = turned + size() - padded(net.out(0));
        for (Int l = 0; l < net.layers; l++) {
            Int in = net.in(l), outs = net.out(l), width = padded(outs);
            for (Int o = 0; o < outs; o++)
                for (Int i = 0; i < in; i++) to[i * width + o] = theta[o * in + i];
            std::memcpy(to + in * width, theta + in * outs, 4 * outs);
            if (l == 0) affine(to, in, width, x.data(), to + in * width, at_zero);
            theta += (in + 1) * outs, to += (in + 1) * width;
        }
    }

    // To the outputs, padded, in y; x and y have room for any layer.
    const float* outputs(const float* turned, const double* mean, const double* scale, const double* observation,
                         float* x, float* y) const {
        Int in = net.in(0), filled = 0;
        const bool relu = net.relu();
        const float* at_zero = turned + size() - padded(net.out(0));
        if (in >= 32)
            for (Int i = 0; i < in; i++) filled += observation[i] != 0;
        for (Int l = 0; l < net.layers; l++) {
            Int width = padded(net.out(l));
            if (l == 0 && in >= 32 && 8 * filled <= in) {  // mostly zeros, as one-hot observations are
                const float* start = at_zero;
                for (Int i = 0; i < in; i++)
                    if (observation[i] != 0) {
                        float more = standardised(observation[i], mean[i], scale[i], bound) -
                                     standardised(0, mean[i], scale[i], bound);
                        affine(turned + i * width, 1, width, &more, start, y);
                        start = y;
                    }
                if (start == at_zero) std::memcpy(y, at_zero, 4 * width);
            } else {
                if (l == 0)
                    for (Int i = 0; i < in; i++) x[i] = standardised(observation[i], mean[i], scale[i], bound);
                affine(turned, net.in(l), width, x, turned + net.in(l) * width, y);
            }
            if (l + 1 < net.layers)
                for (Int o = 0; o < width; o += LANES) store(y + o, activation(relu, load(y + o)));
            turned += (net.in(l) + 1) * width;
            std::swap(x, y);
        }
        return x;
    }
};

// How outputs and noise make an action, for `runs` of the fleet; see policy.Family.sampler.
struct Sampling {
    Int components;      // of categoricals side by side, or 0: a Gaussian of one number per output
    const Int* sizes;    // [components]
    const float* std;    // [R, outputs], of a Gaussian

    Int width(Int outputs) const { return components ? components : outputs; }

    // action [width] of one run's outputs, padded, and its noise, padded, which is overwritten.
    void sample(const float* outputs, const float* std, float* noise, Int count, float* action) const {
        if (!components) {
            for (Int o = 0; o < count; o += LANES)  // the product is rounded, as NumPy's is
                store(noise + o, load(outputs + o) + times(load(std + o), load(noise + o)));
            std::memcpy(action, noise, 4 * count);
            return;
        }
        for (Int o = 0; o < count; o += LANES) store(noise + o, load(outputs + o) + load(noise + o));
        for (Int c = 0; c < components; noise += sizes[c++]) action[c] = largest(noise, sizes[c]);
    }

    // The place of the first of the largest, or of what is not a number.
    static Int largest(const float* x, Int count) {
        Int at = 0;
        for (Int i = 1; i < count && x[at] == x[at]; i++)
            if (x[i] > x[at] || x[i] != x[i]) at = i;
        return at;
    }
};

// What acts in a rollout: R runs, T steps.
struct Rollout {
    Int runs, horizon;
    double bound;
    const float* turned;         // [R, acting_size], of begin_acting
    const double *mean, *scale;  // [R, inputs]
    Sampling sampling;
    const double *seen, *noise;  // [R, T, inputs], [R, T, outputs]
    const bool* alive;           // [R]
    double* actions;             // [R, T, width]
    float* action;               // [R, width]
};

extern "C" {

// Floats of what begin_acting makes of one run.
Int acting_size(Int layers, const Int* sizes) {
    Network net{layers, sizes};
    return Acting{net, 0}.size();
}

// turned [R, acting_size]; theta [R, stride] with the network's parameters first, mean and scale [R, inputs].
void begin_acting(Int layers, const Int* sizes, Int runs, Int stride, const float* theta, const double* mean,
                  const double* scale, double bound, float* turned) {
    Network net{layers, sizes};
    Acting acting{net, bound};
    for (Int run = 0; run < runs; run++, theta += stride, mean += net.in(0), scale += net.in(0))
        acting.begin(theta, mean, scale, turned + run * acting.size());
}

// out [R, outputs] of one raw observation per run [R, inputs].
void act(Int layers, const Int* sizes, Int runs, const float* turned, const double* mean, const double* scale,
         double bound, const double* observation, float* out) {
    Network net{layers, sizes};
    Acting acting{net, bound};
    Int in = net.in(0), outs = net.out(layers - 1), size = acting.size();
    std::vector<float> x(padded(net.widest())), y(padded(net.widest()));
    for (Int run = 0; run < runs; run++, mean += in, scale += in, observation += in, out += outs)
        std::memcpy(out, acting.outputs(turned + run * size, mean, scale, observation, x.data(), y.data()), 4 * outs);
}

// Step t: action, and column t of actions, of column t of what is seen; 0 for runs that are not alive.
void act_at(Int layers, const Int* sizes, const Rollout* its, Int t) {
    Network net{layers, sizes};
    Acting acting{net, its->bound};
    const Sampling& sampling = its->sampling;
    Int in = net.in(0), outs = net.out(layers - 1), size = acting.size(), width = sampling.width(outs);
    std::vector<float> x(padded(net.widest())), y(padded(net.widest())), noise(padded(outs)), std(padded(outs));
    for (Int run = 0; run < its->runs; run++) {
        Int place = run * its->horizon + t;
        float* action = its->action + run * width;
        if (its->alive[run]) {
            const float* outputs = acting.outputs(its->turned + run * size, its->mean + run * in, its->scale + run * in,
                                                  its->seen + place * in, x.data(), y.data());
            for (Int o = 0; o < outs; o++) noise[o] = float(its->noise[place * outs + o]);
            if (sampling.std) std::memcpy(std.data(), sampling.std + run * outs, 4 * outs);
            sampling.sample(outputs, std.data(), noise.data(), outs, action);
        } else
            std::memset(action, 0, 4 * width);
        for (Int a = 0; a < width; a++) its->actions[place * width + a] = action[a];
    }
}
}
