// Small MLPs of tanh or ReLU for float32 on one core: forwards, J^T u, F v and what is solved with it, steps of Adam or
// SGD, and whole inner loops of the value fit and of the losses whose slopes are written down here; see fused.py.
//
// 64 samples at a time, feature by feature: an activation is [features][64], so that the samples fill the vector
// registers in every product with a weight [outputs][inputs] as the flat parameter vector holds it. What passes between
// layers stays in the first-level cache. A run's arithmetic depends on nothing but that run.
//
// tests/test_fused.py: networks, slopes and Fisher matrices against autograd and dense solves in float64; slopes, inner
// loops and conjugate gradients bit by bit against torch's operations; steps against the eager ones.

#include "fused.h"

// c[m][n] += sum_k a(m, k) b[k][n]; the rows of a, M of them, are `am` apart and its columns `ak`. With a bias c starts
// from it instead. `last` of the lanes of the last of the N registers exist in c.
template <int M, int N>
static void tile(const float* a, Int am, Int ak, const float* b, Int bk, float* c, Int cm, Int depth,
                 const float* bias, int last) {
    V sum[M][N];
    for (int m = 0; m < M; m++)
        for (int n = 0; n < N; n++) {
            if (bias)
                sum[m][n] = V{} + bias[m];
            else if (n + 1 < N || last == LANES)
                sum[m][n] = load(c + m * cm + n * LANES);
            else {
                float part[LANES] = {};
                std::memcpy(part, c + m * cm + n * LANES, 4 * last);
                sum[m][n] = load(part);
            }
        }
    for (Int k = 0; k < depth; k++) {
        V right[N];
        for (int n = 0; n < N; n++) right[n] = load(b + k * bk + n * LANES);
        for (int m = 0; m < M; m++) {
            V left = a[m * am + k * ak] - V{};  // x - 0 is x, which compilers know; 0 + x is not, for x = -0
            for (int n = 0; n < N; n++) sum[m][n] += left * right[n];
        }
    }
    for (int m = 0; m < M; m++)
        for (int n = 0; n < N; n++) {
            if (n + 1 < N || last == LANES)
                store(c + m * cm + n * LANES, sum[m][n]);
            else {
                float part[LANES];
                store(part, sum[m][n]);
                std::memcpy(c + m * cm + n * LANES, part, 4 * last);
            }
        }
}

template <int N>
static void rows(Int count, const float* a, Int am, Int ak, const float* b, Int bk, float* c, Int cm, Int depth,
                 const float* bias, int last) {
    Int m = 0;
    auto some = [&](auto tile, int step) {
        for (; m + step <= count; m += step)
            tile(a + m * am, am, ak, b, bk, c + m * cm, cm, depth, bias ? bias + m : nullptr, last);
    };
    if constexpr (N < WIDE) some(tile<8, N>, 8);  // enough sums at a time to hide what one takes
    some(tile<TALL, N>, TALL);
    some(tile<4, N>, 4);
    some(tile<2, N>, 2);
    some(tile<1, N>, 1);
}

// The same for any [count][columns]; rows of b are readable up to a whole register.
static void product(Int count, Int columns, Int depth, const float* a, Int am, Int ak, const float* b, Int bk,
                    float* c, Int cm, const float* bias = nullptr) {
    for (Int n = 0; n < columns;) {
        Int registers = (columns - n + LANES - 1) / LANES;
        int wide = registers >= WIDE ? WIDE : registers >= 2 ? 2 : 1;
        int last = columns - n - (wide - 1) * LANES < LANES ? columns - n - (wide - 1) * LANES : LANES;
        auto use = wide == WIDE ? rows<WIDE> : wide == 2 ? rows<2> : rows<1>;
        use(count, a, am, ak, b + n, bk, c + n, cm, depth, bias, last);
        n += wide * LANES;
    }
}

// [features][64] -> [64][padded features], zeros where padded. Riffling a square's rows log2 LANES times transposes it.
static void transpose(const float* from, Int features, float* to) {
    I low, high;
    for (int i = 0; i < LANES; i++) {
        low[i] = i / 2 + (i % 2) * LANES;
        high[i] = low[i] + LANES / 2;
    }
    Int width = padded(features);
    for (Int f = 0; f < width; f += LANES)
        for (Int n = 0; n < BLOCK; n += LANES) {
            V square[LANES], mixed[LANES];
            for (int i = 0; i < LANES; i++) square[i] = f + i < features ? load(from + (f + i) * BLOCK + n) : V{};
            for (int round = 1; round < LANES; round *= 2) {
                for (int i = 0; i < LANES / 2; i++) {
                    mixed[2 * i] = __builtin_shuffle(square[i], square[i + LANES / 2], low);
                    mixed[2 * i + 1] = __builtin_shuffle(square[i], square[i + LANES / 2], high);
                }
                std::memcpy(square, mixed, sizeof square);
            }
            for (int i = 0; i < LANES; i++) store(to + (n + i) * width + f, square[i]);
        }
}

// Inputs of which few differ from one row of their run, as one-hot ones do however they are normalised: 500 inputs then
// cost little more than one. A block keeps their places, then the differences, in the first rows of its inputs.
struct Few {
    Int limit;                // of differences in a sample
    const Int* most;          // [R] differences in any sample of the run; 0: its inputs are passed as they are
    const float* base;        // [R, inputs]
    const int32_t* place;     // [R, N, limit]
    const float* difference;  // [R, N, limit], zeros behind a sample's last
};

// Of one run, or of none where `most` is 0.
struct Sparse {
    Int most = 0, limit = 0;
    const float* base = nullptr;
    const int32_t* place = nullptr;
    const float* difference = nullptr;

    static Sparse of(const Few* few, Int run, Int samples, Int inputs) {
        if (!few || !few->most[run]) return {};
        return {few->most[run], few->limit, few->base + run * inputs, few->place + run * samples * few->limit,
                few->difference + run * samples * few->limit};
    }

    // Of the samples `rows` of the run, or of those from `first` on.
    void gather(const Int* rows, Int first, Int count, float* kept) const {
        std::memset(kept, 0, 4 * 2 * most * BLOCK);
        auto places = reinterpret_cast<int32_t*>(kept);
        for (Int n = 0; n < count; n++) {
            Int from = (rows ? rows[n] : first + n) * limit;
            for (Int j = 0; j < most; j++) {
                places[j * BLOCK + n] = place[from + j];
                kept[(most + j) * BLOCK + n] = difference[from + j];
            }
        }
    }

    // next [outs][64] = W x + bias
    void forward(const float* weight, Int in, Int outs, const float* kept, const float* bias, float* next) const {
        auto places = reinterpret_cast<const int32_t*>(kept);
        for (Int o = 0; o < outs; o++, weight += in, next += BLOCK) {
            float constant = bias[o] + dot(weight, base, in);
            for (Int n = 0; n < BLOCK; n++) {
                next[n] = constant;
                for (Int j = 0; j < most; j++)
                    next[n] += kept[(most + j) * BLOCK + n] * weight[places[j * BLOCK + n]];
            }
        }
    }

    // Adds sum_n u_n x_n^T to gradient [outs][in]; total [outs] is sum_n u_n.
    void transposed(const float* u, Int in, Int outs, const float* kept, const float* total, Int count,
                    float* gradient) const {
        auto places = reinterpret_cast<const int32_t*>(kept);
        for (Int o = 0; o < outs; o++, gradient += in, u += BLOCK) {
            float* __restrict to = gradient;
            for (Int i = 0; i < in; i++) to[i] += total[o] * base[i];
            for (Int j = 0; j < most; j++)
                for (Int n = 0; n < count; n++)
                    to[places[j * BLOCK + n]] += u[n] * kept[(most + j) * BLOCK + n];
        }
    }

    static float dot(const float* a, const float* b, Int n) {
        V sums[4] = {};
        Int i = 0;
        for (; i + 4 * LANES <= n; i += 4 * LANES)
            for (int k = 0; k < 4; k++) sums[k] += load(a + i + k * LANES) * load(b + i + k * LANES);
        float total = sum(sums[0] + sums[1] + (sums[2] + sums[3]));
        for (; i < n; i++) total += a[i] * b[i];
        return total;
    }
};

// [count][features] at `rows` of a table, or in order, to [features][64]; zeros behind count.
static void gather(const float* table, const Int* rows, Int count, Int features, float* to) {
    for (Int n = 0; n < BLOCK; n++) {
        const float* row = n < count ? table + (rows ? rows[n] : n) * features : nullptr;
        for (Int f = 0; f < features; f++) to[f * BLOCK + n] = row ? row[f] : 0;
    }
}

static void scatter(const float* from, Int count, Int features, float* to) {
    for (Int n = 0; n < count; n++)
        for (Int f = 0; f < features; f++) to[n * features + f] = from[f * BLOCK + n];
}

// kept [features()][64], its first rows the inputs: fills the rest and out [outputs][64].
static void forward_block(const Network& net, const float* theta, const Sparse& sparse, float* kept, Int count,
                          float* out) {
    Int columns = padded(count);
    const bool relu = net.relu();
    for (Int l = 0; l < net.layers; l++) {
        Int in = net.in(l), outs = net.out(l);
        float* next = l + 1 < net.layers ? kept + in * BLOCK : out;
        if (l == 0 && sparse.most)
            sparse.forward(theta, in, outs, kept, theta + in * outs, next);
        else
            product(outs, columns, in, theta, in, 1, kept, BLOCK, next, BLOCK, theta + in * outs);
        if (l + 1 < net.layers)
            for (Int f = 0; f < outs; f++)
                for (Int n = 0; n < columns; n += LANES)
                    store(next + f * BLOCK + n, activation(relu, load(next + f * BLOCK + n)));
        theta += (in + 1) * outs;
        kept = next;
    }
}

// Adds J^T u to gradient; u [outputs][64] with zeros behind count is overwritten.
static void transposed_block(const Network& net, const float* theta, const Sparse& sparse, const float* kept, Int count,
                             float* u, float* spare, float* turned, float* gradient) {
    Int columns = padded(count);
    const bool relu = net.relu();
    theta += net.parameters(), gradient += net.parameters(), kept += net.features() * BLOCK;
    for (Int l = net.layers - 1; l >= 0; l--) {
        Int in = net.in(l), outs = net.out(l);
        theta -= (in + 1) * outs, gradient -= (in + 1) * outs, kept -= in * BLOCK;
        for (Int o = 0; o < outs; o++) {
            V some = V{};
            for (Int n = 0; n < columns; n += LANES) some += load(u + o * BLOCK + n);
            turned[o] = sum(some);
            gradient[in * outs + o] += turned[o];
        }
        if (l == 0 && sparse.most) {
            sparse.transposed(u, in, outs, kept, turned, count, gradient);
            break;
        }
        transpose(kept, in, turned);
        product(outs, in, columns, u, BLOCK, 1, turned, padded(in), gradient, in);
        if (l == 0) break;
        std::memset(spare, 0, 4 * in * BLOCK);
        product(in, columns, outs, theta, 1, in, u, BLOCK, spare, BLOCK);
        for (Int i = 0; i < in * BLOCK; i += LANES) store(spare + i, load(spare + i) * slope(relu, load(kept + i)));
        std::swap(u, spare);
    }
}

// J v, to t [widest][64].
static float* tangent_block(const Network& net, const float* theta, const Sparse& sparse, const float* kept,
                            const float* v, Int count, float* t, float* spare) {
    Int columns = padded(count);
    const bool relu = net.relu();
    for (Int l = 0; l < net.layers; l++) {
        Int in = net.in(l), outs = net.out(l);
        if (l == 0 && sparse.most)
            sparse.forward(v, in, outs, kept, v + in * outs, spare);
        else
            product(outs, columns, in, v, in, 1, kept, BLOCK, spare, BLOCK, v + in * outs);
        if (l > 0) product(outs, columns, in, theta, in, 1, t, BLOCK, spare, BLOCK);
        kept += in * BLOCK;
        if (l + 1 < net.layers)
            for (Int i = 0; i < outs * BLOCK; i += LANES)
                store(spare + i, load(spare + i) * slope(relu, load(kept + i)));
        theta += (in + 1) * outs, v += (in + 1) * outs;
        std::swap(t, spare);
    }
    return t;
}

struct Rule {
    Int adam;            // or plain SGD
    const float* rate;   // [R]
    const float* bound;  // [R] of the gradient's length, or none
    float *first, *second, *first_weight, *second_weight, *count;  // [R, P], [R, P], [R], [R], [R]
};

static void step(const Rule& rule, Int run, Int parameters, float* theta, float* gradient) {
    if (rule.bound) {
        double square = 0;
        for (Int i = 0; i < parameters; i++) square += double(gradient[i]) * gradient[i];
        float factor = rule.bound[run] / (float(std::sqrt(square)) + 1e-6f);
        factor = factor > 1 ? 1 : factor;
        for (Int i = 0; i < parameters; i++) gradient[i] *= factor;
    }
    float rate = rule.rate[run];
    if (!rule.adam) {
        for (Int i = 0; i < parameters; i++) theta[i] -= rate * gradient[i];
        return;
    }
    float& first_weight = rule.first_weight[run];
    float& second_weight = rule.second_weight[run];
    first_weight = 0.9f * first_weight + 0.1f;
    second_weight = 0.999f * second_weight + 0.001f;
    rule.count[run] += 1;
    float scale = rate / first_weight, other = 1 / second_weight;
    float* __restrict first = rule.first + run * parameters;
    float* __restrict second = rule.second + run * parameters;
    float* __restrict to = theta;
    for (Int i = 0; i < parameters; i++) {
        float g = gradient[i];
        first[i] = 0.9f * first[i] + 0.1f * g;
        second[i] = 0.999f * second[i] + 0.001f * (g * g);
        to[i] -= scale * first[i] / (std::sqrt(second[i] * other) + 1e-5f);
    }
}

struct Scratch {
    std::vector<float> u, spare, turned, kept, gradient;
    Scratch(const Network& net, Int parameters)
        : u(net.widest() * BLOCK), spare(net.widest() * BLOCK), turned(padded(net.widest()) * BLOCK),
          kept(net.features() * BLOCK), gradient(parameters) {}
};

static Int blocks(Int samples) { return (samples + BLOCK - 1) / BLOCK; }
static Int within(Int samples, Int block) { return std::min(Int(BLOCK), samples - block * BLOCK); }

// Functions that are not exact, as torch has them; fused.py finds them in its libraries.
struct Torch {
    V (*exp)(V);  // within a softmax
    V (*expm1)(V);
    V (*log)(V);                                       // within a softmax
    void (*exps)(int, const float*, float*, int64_t);  // torch.exp of so many

    void exps_of(float* x, Int count) const { exps(int(count), x, x, 0x140102); }  // accuracy and errors as torch asks
};

// sum_i term(i), sixteen at a time, and sixteen of those; this and what follows are the orders of torch.sum, whose
// registers have eight floats.
template <class T, class Term>
static T cascade(Int size, Term term) {
    T level[4] = {};
    Int i = 0;
    while (i + 16 <= size) {
        for (int j = 0; j < 16; j++, i++) level[0] += term(i);
        for (int j = 1; j < 4; j++) {
            level[j] += level[j - 1];
            level[j - 1] = T{};
            if (i & (15 << 4 * j)) break;
        }
    }
    for (; i < size; i++) level[0] += term(i);
    return level[0] + level[1] + level[2] + level[3];
}

// in four parts
template <class T, class Term>
static T in_parts(Int size, Term term) {
    T part[4];
    for (int k = 0; k < 4; k++) part[k] = cascade<T>(size / 4, [&](Int i) { return term(4 * i + k); });
    for (Int i = size / 4 * 4; i < size; i++) part[0] += term(i);
    return part[0] + part[1] + part[2] + part[3];
}

// along the last axis
template <class T, class Term>
static T inner_sum(Int size, Term term) {
    if (size < 8) return in_parts<T>(size, term);
    T total = {};
    for (Int i = size / 8 * 8; i < size; i++) total += term(i);
    for (Int k = 0; k < 8; k++) total += in_parts<T>(size / 8, [&](Int i) { return term(8 * i + k); });
    return total;
}

// the same of x_i y_i
static float inner_product(const float* x, const float* y, Int size) {
    typedef float Eight __attribute__((vector_size(32)));
    typedef float Anywhere __attribute__((vector_size(32), aligned(4)));
    auto eight = [](const float* x) -> Eight { return *reinterpret_cast<const Anywhere*>(x); };
    if (size < 8) return in_parts<float>(size, [&](Int i) { return times(x[i], y[i]); });
    Eight sums = in_parts<Eight>(size / 8, [&](Int i) { return times(eight(x + 8 * i), eight(y + 8 * i)); });
    float total = 0;
    for (Int i = size / 8 * 8; i < size; i++) total += times(x[i], y[i]);
    for (int k = 0; k < 8; k++) total += sums[k];
    return total;
}

// sum_i x[i] along an axis that is not the last; of one of `columns`, of which those behind the last whole group differ
static float outer_sum(const float* x, Int size, Int column, Int columns) {
    Int group = columns < 8 ? 4 : 32;
    auto term = [&](Int i) { return x[i]; };
    return column < columns / group * group ? cascade<float>(size, term) : in_parts<float>(size, term);
}

// What a loss has beside beta KL(old || new), with a minus: of the ratio r and the advantage A the product, or that as
// the pages of study/algorithm of these names have it, or A log pi; or the product without the minus.
enum Objective : Int { NONE, SURROGATE, CLIPPED, PER_SAMPLE, SIMPLE, WEIGHTED, MAXIMISED };

enum Penalty : Int { UNPENALISED, OLD_NEW, NEW_OLD };  // KL(old || new), KL(new || old)

// The mean over a batch of such a sum, of a policy's distribution parameters phi, less the entropy.
struct Loss {
    Int objective, penalty, family, actions;  // 0 Gaussian, 1 with a log std per state, 2 categoricals; its size
    Int components;    // of categoricals side by side
    const Int* sizes;  // [components]
    const float *action, *old, *log_prob, *advantage, *number;  // [R, N, .], [R, N, phi], [R, N], [R, N], [R]
    const float* entropy;  // [R] its coefficient, or none
    const Int* order;      // [R, epochs, each], where that is the shape of the advantages, too; or none
    Torch torch;
};

// The slope d loss / d outputs of a minibatch, block by block, as torch takes it of the definition in Python: the same
// operations, found backwards, in the same order. So the bits are the same.
struct Slope {
    const Loss& loss;
    Int samples, outputs, size;  // N, of the network, in the largest minibatch
    std::vector<float> action, old, log_prob, advantage, ratio, taken, a, b, c, d, spread;

    Slope(const Loss& loss, Int samples, Int outputs, Int size)
        : loss(loss), samples(samples), outputs(outputs), size(size), log_prob(BLOCK), advantage(BLOCK), ratio(BLOCK),
          taken(loss.components) {
        for (auto* room : {&a, &b, &c, &d, &action}) room->resize(loss.actions * BLOCK);
        old.resize(2 * loss.actions * BLOCK);
        if (loss.family == 0) spread.resize(loss.actions * size);
    }

    // u [outputs][64], which holds the network's outputs, becomes the slope in them. The samples are `count` at `rows`
    // of the run, or from `first` on; first is their place in the minibatch of `batch`. rest: log standard deviations.
    void block(Int run, const float* rest, const Int* rows, Int first, Int count, Int batch, float* u) {
        auto field = [&](const float* table, Int width, std::vector<float>& to) {
            if (table) gather(table + (run * samples + (rows ? 0 : first)) * width, rows, count, width, to.data());
        };
        field(loss.action, loss.family == 2 ? loss.components : loss.actions, action);
        field(loss.old, loss.family == 2 ? loss.actions : 2 * loss.actions, old);
        field(loss.log_prob, 1, log_prob);
        if (loss.order)
            gather(loss.advantage + (rows - loss.order), nullptr, count, 1, advantage.data());
        else
            field(loss.advantage, 1, advantage);
        const float number = loss.number ? loss.number[run] : 0, bonus = loss.entropy ? loss.entropy[run] / batch : 0;
        if (loss.family == 2)
            categorical(number, bonus, count, batch, u);
        else
            gaussian(number, bonus, loss.family == 0 ? rest : nullptr, first, count, batch, u);
        for (Int o = 0; o < outputs; o++) std::fill(u + o * BLOCK + count, u + (o + 1) * BLOCK, 0.0f);
    }

    // The slope in the log standard deviations that do not depend on the state, of the minibatch whose blocks are done.
    void rest(Int batch, float* slope) const {
        for (Int i = 0; loss.family == 0 && i < loss.actions; i++)
            slope[i] = outer_sum(spread.data() + i * size, batch, i, loss.actions);
    }

  private:
    // In the log probability of each action.
    V objective(float epsilon, Int batch, Int n) const {
        const V share = all(-1.0f / batch), A = load(advantage.data() + n), r = load(ratio.data() + n), none = {};
        if (loss.objective == WEIGHTED) return times(share, A);
        if (loss.objective == SURROGATE) return times(times(share, A), r);
        if (loss.objective == MAXIMISED) return times(times(-share, A), r);
        const V low = all(1 - epsilon), high = all(1 + epsilon);
        if (loss.objective == CLIPPED) {
            V free = times(r, A), kept = times(r < low ? low : r > high ? high : r, A), half = times(share, all(0.5f));
            V by = free == kept ? half : free > kept ? none : share;
            V with = free == kept ? half : free < kept ? none : share;
            return times(times(by, A) + ((r >= low) & (r <= high) ? times(with, A) : none), r);
        }
        if (loss.objective == PER_SAMPLE) {
            V held = (A > 0 ? r > high : (r < low) & (A < 0)) ? -times(r, A) : none;
            return times(times(share, A), r) + times(share, held);
        }
        V steep = times(-share / all(2 * epsilon), A < 0 ? -A : A);
        return times(times(share, A) + times(steep, times(r - 1, all(2))), r);
    }

    void gaussian(float number, float bonus, const float* rest, Int first, Int count, Int batch, float* u) {
        const Int width = loss.actions * BLOCK, columns = padded(count);
        const bool reverse = loss.penalty == NEW_OLD;
        float *log_std = a.data(), *inverse = b.data(), *of_old = c.data();
        for (Int i = 0; i < width; i += LANES) store(log_std + i, rest ? all(rest[i / BLOCK]) : load(u + width + i));
        for (Int i = 0; i < width; i += LANES) store(inverse + i, -load(log_std + i));
        loss.torch.exps_of(inverse, width);
        for (Int i = 0; reverse && i < width; i += LANES) store(of_old + i, -load(old.data() + width + i));
        if (reverse) loss.torch.exps_of(of_old, width);
        for (Int n = 0; loss.log_prob && n < columns; n += LANES) {
            V log_ratio = inner_sum<V>(loss.actions, [&](Int k) {
                Int i = k * BLOCK + n;
                V z = times(load(action.data() + i) - load(u + i), load(inverse + i));
                return times(times(z, z), all(-0.5f)) - load(log_std + i) - 0.9189385332046727f;  // log sqrt(2 pi)
            });
            store(ratio.data() + n, log_ratio - load(log_prob.data() + n));
        }
        loss.torch.exps_of(ratio.data(), columns);
        const V half = all(number / batch * 0.5f);
        for (Int n = 0; n < columns; n += LANES) {
            const V along = objective(number, batch, n);
            for (Int i = n; i < width; i += BLOCK) {
                V e = load(inverse + i), mean = load(u + i), in_mean = {}, in_log_std = all(-bonus);
                if (loss.penalty) {
                    V shift = mean - load(old.data() + i), widening = load(old.data() + width + i) - load(log_std + i);
                    V by = reverse ? load(of_old + i) : e, wide = reverse ? -widening : widening;
                    V wider = times(half, loss.torch.expm1(times(wide, all(2))) + 1) - half;
                    V pull = times(half, times(times(shift, by), all(2)));
                    in_mean = times(pull, by);
                    in_log_std += reverse ? times(wider, all(2)) : -times(wider, all(2)) - times(times(pull, shift), e);
                }
                if (loss.objective != NONE) {
                    V off = load(action.data() + i) - mean;
                    V push = times(times(along, all(-0.5f)), times(times(off, e), all(2)));
                    in_mean -= times(push, e);
                    in_log_std += -along - times(times(push, off), e);
                }
                store(u + i, in_mean);
                if (!rest) store(u + width + i, in_log_std);
                store(c.data() + i, in_log_std);
            }
        }
        for (Int k = 0; rest && k < loss.actions; k++)
            std::memcpy(spread.data() + k * size + first, c.data() + k * BLOCK, 4 * count);
    }

    // The largest term(i) of one sample's actions, or what is not a number among them.
    template <class Term>
    static V largest(Int from, Int end, Term term) {
        V most = term(from);
        for (Int i = from + BLOCK; i < end; i += BLOCK) {
            V next = term(i);
            most = (next > most) | (next != next) ? next : most;
        }
        return most;
    }

    void log_softmax(const float* x, float* to, Int from, Int end) const {
        const V most = largest(from, end, [&](Int i) { return load(x + i); });
        V total = loss.torch.exp(load(x + from) - most);
        for (Int i = from + BLOCK; i < end; i += BLOCK) total += loss.torch.exp(load(x + i) - most);
        total = loss.torch.log(total);
        for (Int i = from; i < end; i += BLOCK) store(to + i, load(x + i) - most - total);
    }

    // use(component, from, end): the numbers of its actions are BLOCK apart, of the samples from n on.
    template <class Use>
    void each(Int n, Use use) const {
        for (Int c = 0, at = 0; c < loss.components; at += loss.sizes[c++] * BLOCK)
            use(c, at + n, at + loss.sizes[c] * BLOCK);
    }

    void categorical(float number, float bonus, Int count, Int batch, float* u) {
        const Int width = loss.actions * BLOCK, columns = padded(count);
        const bool reverse = loss.penalty == NEW_OLD;
        float *log_p = a.data(), *log_old = b.data(), *of_new = d.data();
        for (Int n = 0; n < columns; n += LANES)
            each(n, [&](Int, Int from, Int end) {
                log_softmax(u, log_p, from, end);
                if (loss.penalty) log_softmax(old.data(), log_old, from, end);
            });
        std::memcpy(of_new, log_p, 4 * width);
        if (reverse || loss.entropy) loss.torch.exps_of(of_new, width);
        float* p = reverse ? of_new : c.data();  // of the first of the two in the divergence
        if (loss.penalty == OLD_NEW) {
            std::memcpy(p, log_old, 4 * width);
            loss.torch.exps_of(p, width);
        }
        for (Int n = 0; loss.log_prob && n < columns; n++) {
            each(n, [&](Int c, Int from, Int) { taken[c] = log_p[from + Int(action[c * BLOCK + n]) * BLOCK]; });
            ratio[n] = inner_sum<float>(loss.components, [&](Int c) { return taken[c]; }) - log_prob[n];
        }
        loss.torch.exps_of(ratio.data(), columns);
        auto d = [&](Int i) {
            V between = load(log_p + i) - load(log_old + i);
            return reverse ? -between : between;
        };
        auto in_entropy = [&](Int i) {
            V share = times(all(bonus), load(of_new + i));
            return share + times(times(all(bonus), load(log_p + i)), load(of_new + i));
        };
        auto component = [&](V along, V chosen, Int from, Int end) {
            const V most = largest(from, end, d), share = all(number / batch);
            const V far = most <= 1 ? V{} : share, near = most <= 1 ? share : V{};
            V total = {}, sampled = {}, in_bonus = {};  // over the actions, of each slope in log p
            for (Int i = from, k = 0; i < end; i += BLOCK, k++) {
                sampled += chosen == float(k) ? along : V{};
                if (loss.entropy) in_bonus += in_entropy(i);
                if (!loss.penalty) continue;
                V nearly = times(near, load(p + i)), less = loss.torch.expm1(d(i) > 1 ? all(1) : d(i));
                V in_kl = -times(far, load(p + i)) - nearly + (d(i) <= 1 ? times(nearly, less + 1) : V{});
                if (reverse) in_kl = times(times(near, less - d(i)) - times(far, d(i)), load(p + i)) - in_kl;
                total += in_kl;
                store(u + i, in_kl);
            }
            for (Int i = from, k = 0; i < end; i += BLOCK, k++) {
                V now = loss.torch.exp(load(log_p + i)), in_all = {};
                if (loss.entropy) in_all = in_entropy(i) - now * in_bonus;  // rounded once
                if (loss.penalty) in_all += load(u + i) - now * total;
                if (loss.objective != NONE) in_all += (chosen == float(k) ? along : V{}) - now * sampled;
                store(u + i, in_all);
            }
        };
        for (Int n = 0; n < columns; n += LANES) {
            const V along = objective(number, batch, n) + V{};
            each(n, [&](Int c, Int from, Int end) {
                component(along, load(action.data() + c * BLOCK + n), from, end);
            });
        }
    }
};

// Of mean (value - target)^2, of a network's only output.
struct Squares {
    const float* target;  // [R, N]
    Int samples;

    void block(Int run, const float*, const Int* rows, Int, Int count, Int batch, float* u) const {
        const float* its = target + run * samples;
        for (Int n = 0; n < BLOCK; n++) u[n] = n < count ? 2 * (u[n] - its[rows[n]]) / batch : 0;
    }
    void rest(Int, float*) const {}
};

// Of one run, at its samples `rows` or, without, at its first `batch`: gradient [stride] of a loss in theta.
template <class Its>
static void gradient_of(const Network& net, const Sparse& sparse, Int run, Int stride, const float* theta,
                        const float* x, const Int* rows, Int batch, Its& slope, Scratch& own, float* gradient) {
    Int parameters = net.parameters(), in = net.in(0);
    float *kept = own.kept.data(), *u = own.u.data();
    std::memset(gradient, 0, 4 * stride);
    for (Int b = 0; b < blocks(batch); b++) {
        const Int *its = rows ? rows + b * BLOCK : nullptr, count = within(batch, b);
        if (sparse.most)
            sparse.gather(its, b * BLOCK, count, kept);
        else
            gather(rows ? x : x + b * BLOCK * in, its, count, in, kept);
        forward_block(net, theta, sparse, kept, count, u);
        slope.block(run, theta + parameters, its, b * BLOCK, count, batch, u);
        transposed_block(net, theta, sparse, kept, count, u, own.spare.data(), own.turned.data(), gradient);
    }
    slope.rest(batch, gradient + parameters);
}

// Epochs of minibatches of steps down a loss; theta [R, stride], x [R, N, inputs], order [R, epochs, each].
template <class Its>
static void descend_all(const Network& net, Int runs, Int samples, Int stride, float* theta, const float* x,
                        const Few* few, const Int* order, Int epochs, Int each, Int size, const Rule& rule,
                        Its& slope) {
    Scratch own(net, stride);
    float* gradient = own.gradient.data();
    for (Int run = 0; run < runs; run++, theta += stride, x += samples * net.in(0)) {
        Sparse sparse = Sparse::of(few, run, samples, net.in(0));
        for (Int epoch = 0; epoch < epochs; epoch++, order += each)
            for (Int start = 0; start < each; start += size) {
                Int batch = std::min(size, each - start);
                gradient_of(net, sparse, run, stride, theta, x, order + start, batch, slope, own, gradient);
                step(rule, run, stride, theta, gradient);
            }
    }
}

// What a policy's Fisher information does to its outputs and to the log standard deviations behind the network:
// weight * mean and 2 * log std of Gaussians, p * (v - sum p v) of each of the categoricals.
struct Metric {
    Int components;       // of categoricals side by side, or 0: Gaussian
    const Int* sizes;     // [components]
    Int width;            // of the weights
    const float* weight;  // [R, N, width]: 1 / std^2, or p, as many for each component as the largest has
};

// F v = J^T M J v / N of one run after the other, as objective.fisher_vector_product, and what is solved with it.
struct Fisher {
    const Network& net;
    const Metric& metric;
    Int samples, stride;
    const float *theta, *kept;  // of the run
    Sparse sparse;
    Scratch own;
    std::vector<float> weight, constant;

    Fisher(const Network& net, const Metric& metric, Int samples, Int stride)
        : net(net), metric(metric), samples(samples), stride(stride), own(net, 0),
          weight(blocks(samples) * metric.width * BLOCK), constant(samples) {}

    void begin(Int run, const float* all_theta, const float* all_kept, const Few* few) {
        theta = all_theta + run * stride, kept = all_kept + run * blocks(samples) * net.features() * BLOCK;
        sparse = Sparse::of(few, run, 0, net.in(0));
        for (Int b = 0; b < blocks(samples); b++)
            gather(metric.weight + (run * samples + b * BLOCK) * metric.width, nullptr, within(samples, b),
                   metric.width, weight.data() + b * metric.width * BLOCK);
    }

    // made [stride] = F v
    void product(const float* v, float* made) {
        Int parameters = net.parameters(), outs = net.out(net.layers - 1), extra = stride - parameters;
        std::memset(made, 0, 4 * stride);
        for (Int b = 0; b < blocks(samples); b++) {
            Int count = within(samples, b);
            const float* its = kept + b * net.features() * BLOCK;
            float* t = tangent_block(net, theta, sparse, its, v, count, own.u.data(), own.spare.data());
            float* spare = t == own.u.data() ? own.spare.data() : own.u.data();
            times_metric(weight.data() + b * metric.width * BLOCK, outs, t);
            for (Int o = 0; o < outs; o++) std::fill(t + o * BLOCK + count, t + (o + 1) * BLOCK, 0.0f);
            transposed_block(net, theta, sparse, its, count, t, spare, own.turned.data(), made);
        }
        for (Int i = 0; i < extra; i++) {
            std::fill(constant.begin(), constant.end(), 2 * v[parameters + i]);
            made[parameters + i] = outer_sum(constant.data(), samples, i, extra);
        }
        for (Int i = 0; i < stride; i++) made[i] /= samples;
    }

    void times_metric(const float* w, Int outs, float* t) const {
        for (Int i = 0; !metric.components && i < outs * BLOCK; i += LANES)
            store(t + i, i < metric.width * BLOCK ? load(t + i) * load(w + i) : 2 * load(t + i));
        Int most = metric.components ? metric.width / metric.components : 0;
        for (Int c = 0; c < metric.components; t += metric.sizes[c++] * BLOCK, w += most * BLOCK)
            for (Int n = 0; n < BLOCK; n += LANES) {
                const V mean = inner_sum<V>(most, [&](Int i) {
                    return i < metric.sizes[c] ? times(load(w + i * BLOCK + n), load(t + i * BLOCK + n)) : V{};
                });
                for (Int i = n; i < metric.sizes[c] * BLOCK; i += BLOCK)
                    store(t + i, load(w + i) * (load(t + i) - mean));
            }
    }

    // x [stride] with (F + damping) x = b approximately, as solver.conjugate_gradient; the square of the residual.
    float solve(const float* b, float damping, Int iterations, float* solution) {
        Int whole = padded(stride);
        std::vector<float> x(whole), r(whole), p(whole), z(whole);
        std::memcpy(r.data(), b, 4 * stride), std::memcpy(p.data(), b, 4 * stride);
        auto add = [&](std::vector<float>& to, const std::vector<float>& from, V factor, const std::vector<float>& by) {
            for (Int i = 0; i < whole; i += LANES)
                store(to.data() + i, load(from.data() + i) + times(factor, load(by.data() + i)));
        };
        float rr = inner_product(b, b, stride), least = 1.4210854715202004e-14f * rr;  // of the machine epsilon's square
        for (Int i = 0; i < iterations; i++) {
            product(p.data(), z.data());
            add(z, z, all(damping), p);
            bool going = rr > least;
            float alpha = going ? rr / inner_product(p.data(), z.data(), stride) : 0, before = rr;
            add(x, x, all(alpha), p);
            add(r, r, all(-alpha), z);
            rr = inner_product(r.data(), r.data(), stride);
            add(p, r, all(going ? rr / before : 0), p);
        }
        std::memcpy(solution, x.data(), 4 * stride);
        return rr;
    }
};

// In what follows theta is [R, stride] with the network's parameters first, kept [R, blocks, features(), 64].
extern "C" {

// out [R, N, outputs] of x [R, table, inputs], or of those of its rows that `order` [R, ...] begins with for each run.
void forward(Int layers, const Int* sizes, Int runs, Int samples, Int stride, const float* theta, const float* x,
             const Few* few, Int table, const Int* order, Int order_stride, float* kept, float* out) {
    Network net{layers, sizes};
    Scratch own(net, 0);
    for (Int run = 0; run < runs; run++) {
        Sparse sparse = Sparse::of(few, run, table, net.in(0));
        for (Int b = 0; b < blocks(samples); b++) {
            float* block = kept ? kept + (run * blocks(samples) + b) * net.features() * BLOCK : own.kept.data();
            Int count = within(samples, b);
            const Int* rows = order ? order + run * order_stride + b * BLOCK : nullptr;
            if (sparse.most)
                sparse.gather(rows, b * BLOCK, count, block);
            else
                gather(x + (run * table + (order ? 0 : b * BLOCK)) * net.in(0), rows, count, net.in(0), block);
            forward_block(net, theta + run * stride, sparse, block, count, own.u.data());
            scatter(own.u.data(), count, net.out(layers - 1), out + (run * samples + b * BLOCK) * net.out(layers - 1));
        }
    }
}

// gradient [S, stride] = J^T u of u [S, N, outputs], row s at run s % R.
void transposed(Int layers, const Int* sizes, Int runs, Int samples, Int stride, const float* theta, const float* kept,
                const Few* few, Int vectors, const float* u, float* gradient) {
    Network net{layers, sizes};
    Scratch own(net, 0);
    for (Int s = 0; s < vectors; s++) {
        Int run = s % runs, outputs = net.out(layers - 1);
        Sparse sparse = Sparse::of(few, run, 0, net.in(0));
        std::memset(gradient + s * stride, 0, 4 * net.parameters());
        for (Int b = 0; b < blocks(samples); b++) {
            gather(u + (s * samples + b * BLOCK) * outputs, nullptr, within(samples, b), outputs, own.u.data());
            transposed_block(net, theta + run * stride, sparse,
                             kept + (run * blocks(samples) + b) * net.features() * BLOCK, within(samples, b),
                             own.u.data(), own.spare.data(), own.turned.data(), gradient + s * stride);
        }
    }
}

// made [S, stride] = F v of v [S, stride], row s at run s % R.
void fisher(Int layers, const Int* sizes, Int runs, Int samples, Int stride, const float* theta, const float* kept,
            const Few* few, const Metric* metric, Int vectors, const float* v, float* made) {
    Network net{layers, sizes};
    Fisher its(net, *metric, samples, stride);
    for (Int run = 0; run < runs; run++) {
        its.begin(run, theta, kept, few);
        for (Int s = run; s < vectors; s += runs) its.product(v + s * stride, made + s * stride);
    }
}

// x [S, stride] of (F + damping) x = b [S, stride], damping [R], and |residual|^2 [S].
void conjugate_gradient(Int layers, const Int* sizes, Int runs, Int samples, Int stride, const float* theta,
                        const float* kept, const Few* few, const Metric* metric, Int vectors, const float* damping,
                        Int iterations, const float* b, float* x, float* square) {
    Network net{layers, sizes};
    Fisher its(net, *metric, samples, stride);
    for (Int run = 0; run < runs; run++) {
        its.begin(run, theta, kept, few);
        for (Int s = run; s < vectors; s += runs)
            square[s] = its.solve(b + s * stride, damping[run], iterations, x + s * stride);
    }
}

// A step down J^T u, and down `rest` [R, stride - network's parameters] in the parameters behind the network's.
void descend(Int layers, const Int* sizes, Int runs, Int samples, Int stride, float* theta, const float* kept,
             const Few* few, const float* u, const float* rest, Rule rule) {
    Network net{layers, sizes};
    Scratch own(net, stride);
    Int parameters = net.parameters();
    for (Int run = 0; run < runs; run++) {
        float* gradient = own.gradient.data();
        Few its = few ? Few{few->limit, few->most + run, few->base + run * net.in(0), nullptr, nullptr} : Few{};
        transposed(layers, sizes, 1, samples, stride, theta + run * stride,
                   kept + run * blocks(samples) * net.features() * BLOCK, few ? &its : nullptr, 1,
                   u + run * samples * net.out(layers - 1), gradient);
        std::memcpy(gradient + parameters, rest + run * (stride - parameters), 4 * (stride - parameters));
        step(rule, run, stride, theta + run * stride, gradient);
    }
}

// Epochs of minibatches of steps down mean (network - target)^2, one output; x [R, N, inputs], target [R, N], order
// [R, epochs, each].
void fit_squares(Int layers, const Int* sizes, Int runs, Int samples, float* theta, const float* x, const Few* few,
                 const float* target, const Int* order, Int epochs, Int each, Int size, Rule rule) {
    Network net{layers, sizes};
    Squares slope{target, samples};
    descend_all(net, runs, samples, net.parameters(), theta, x, few, order, epochs, each, size, rule, slope);
}

// The same down a loss of a policy, theta [R, stride].
void descend_loss(Int layers, const Int* sizes, Int runs, Int samples, Int stride, float* theta, const float* x,
                  const Few* few, const Loss* loss, const Int* order, Int epochs, Int each, Int size, Rule rule) {
    Network net{layers, sizes};
    Slope slope(*loss, samples, net.out(layers - 1), size);
    descend_all(net, runs, samples, stride, theta, x, few, order, epochs, each, size, rule, slope);
}

// gradient [R, stride] of a loss of a policy on the whole of x [R, N, inputs].
void loss_gradient(Int layers, const Int* sizes, Int runs, Int samples, Int stride, const float* theta, const float* x,
                   const Few* few, const Loss* loss, float* gradient) {
    Network net{layers, sizes};
    Slope slope(*loss, samples, net.out(layers - 1), samples);
    Scratch own(net, 0);
    for (Int run = 0; run < runs; run++)
        gradient_of(net, Sparse::of(few, run, samples, net.in(0)), run, stride, theta + run * stride,
                    x + run * samples * net.in(0), nullptr, samples, slope, own, gradient + run * stride);
}

// u [R, N, outputs] and in_rest [R, extra], the slope of the loss on one minibatch in the network's outputs
// [R, N, outputs] and in rest [R, extra].
void slope_of(Int layers, const Int* sizes, Int runs, Int samples, const float* outputs, Int extra, const float* rest,
              const Loss* loss, float* u, float* in_rest) {
    Int outs = Network{layers, sizes}.out(layers - 1);
    std::vector<float> block(outs * BLOCK);
    Slope slope(*loss, samples, outs, samples);
    for (Int run = 0; run < runs; run++) {
        for (Int b = 0; b < blocks(samples); b++) {
            Int from = (run * samples + b * BLOCK) * outs, count = within(samples, b);
            gather(outputs + from, nullptr, count, outs, block.data());
            slope.block(run, rest + run * extra, nullptr, b * BLOCK, count, samples, block.data());
            scatter(block.data(), count, outs, u + from);
        }
        slope.rest(samples, in_rest + run * extra);
    }
}

// Floats of a register.
Int lanes() { return LANES; }

// Of x [R, N, inputs] what Few holds: a run's base is what its first rows have in common.
void differences(Int runs, Int samples, Int inputs, Int limit, const float* x, Int* most, float* base, int32_t* place,
                 float* difference) {
    for (Int run = 0; run < runs; run++, base += inputs) {
        const float *first = x + run * samples * inputs, *second = first + inputs, *third = second + inputs;
        for (Int i = 0; i < inputs; i++) base[i] = first[i] == third[i] ? first[i] : second[i];
        most[run] = 1;
        for (Int n = 0; n < samples && most[run]; n++) {
            const float* row = first + n * inputs;
            Int from = (run * samples + n) * limit, found = 0;
            for (Int i = 0; i < inputs && found <= limit; i++)
                if (row[i] != base[i] && found++ < limit) {
                    place[from + found - 1] = i;
                    difference[from + found - 1] = row[i] - base[i];
                }
            most[run] = found > limit ? 0 : std::max(most[run], found);
        }
    }
}
}
