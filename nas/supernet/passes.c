/* The elementwise passes of a folded cell on a CPU: what passes.py does in torch operations, one sweep over memory each.
 *
 * Rows are the T frames of one channel of one utterance, contiguous; strides between rows are given in elements. Work is
 * divided by channel, whose statistics run over utterances and frames; a channel's rows stay in cache between sweeps.
 * Compiled for float and double (REAL) by native.py.
 */

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    long average; /* 0: maximum, 1: average */
    long half;    /* kernel / 2 */
} Pool;

static REAL width(long t, long frames, long half) {
    long first = t - half < 0 ? 0 : t - half, last = t + half >= frames ? frames - 1 : t + half;
    return (REAL)(last - first + 1);
}

/* Divide by the number of frames that each window holds. */
static void share(REAL *row, long frames, long half) {
    if (frames <= 2 * half) {
        for (long t = 0; t < frames; t++) row[t] /= width(t, frames, half);
        return;
    }
    const REAL inverse = (REAL)1 / (REAL)(2 * half + 1);
    for (long t = 0; t < half; t++) row[t] /= width(t, frames, half);
#pragma omp simd
    for (long t = half; t < frames - half; t++) row[t] *= inverse;
    for (long t = frames - half; t < frames; t++) row[t] /= width(t, frames, half);
}

static void pool_row(Pool pool, const REAL *restrict x, long frames, REAL *restrict out) {
    memcpy(out, x, frames * sizeof(REAL));
    for (long o = 1; o <= pool.half; o++) {
        if (pool.average) {
#pragma omp simd
            for (long t = 0; t < frames - o; t++) out[t] += x[t + o];
#pragma omp simd
            for (long t = o; t < frames; t++) out[t] += x[t - o];
        } else {
#pragma omp simd
            for (long t = 0; t < frames - o; t++) out[t] = out[t] > x[t + o] ? out[t] : x[t + o];
#pragma omp simd
            for (long t = o; t < frames; t++) out[t] = out[t] > x[t - o] ? out[t] : x[t - o];
        }
    }
    if (pool.average) share(out, frames, pool.half);
}

/* Adds the gradient of x; spends `gradient`. Of equal maxima the first takes it all, as in torch. */
static void pool_row_backward(Pool pool, REAL *restrict gradient, const REAL *restrict x, const REAL *restrict pooled,
                              long frames, REAL *restrict out) {
    if (pool.average) share(gradient, frames, pool.half);
    for (long o = -pool.half; o <= pool.half; o++) {
        const long from = o < 0 ? -o : 0, to = o < 0 ? frames : frames - o;
        if (pool.average) {
#pragma omp simd
            for (long t = from; t < to; t++) out[t + o] += gradient[t];
        } else {
#pragma omp simd
            for (long t = from; t < to; t++) {
                const REAL taken = x[t + o] == pooled[t] ? gradient[t] : (REAL)0;
                out[t + o] += taken;
                gradient[t] -= taken;
            }
        }
    }
}

static REAL leaky(REAL x, REAL slope) { return x > 0 ? x : slope * x; }

/* x [B, C, T] -> p [B, C, T + 4 H], its shift [C], mean and variance of each pool [pools, C]. */
void prepare(const REAL *x, long x_batch, REAL *p, long p_batch, REAL *shift, REAL *means, REAL *variances,
             const Pool *pools, long pool_count, long batch, long channels, long frames, long reach, double slope) {
    const long wide = frames + 4 * reach;
    const double count = (double)batch * (double)frames;
#pragma omp parallel
    {
        REAL *rows = malloc((batch * frames + 1) * sizeof(REAL));
#pragma omp for schedule(static)
        for (long c = 0; c < channels; c++) {
            double total = 0;
            for (long b = 0; b < batch; b++) {
                const REAL *row = x + b * x_batch + c * frames;
                REAL sum = 0;
#pragma omp simd reduction(+ : sum)
                for (long t = 0; t < frames; t++) sum += leaky(row[t], (REAL)slope);
                total += sum;
            }
            const REAL mean = (REAL)(total / count);
            shift[c] = mean;
            for (long b = 0; b < batch; b++) {
                const REAL *row = x + b * x_batch + c * frames;
                REAL *out = p + b * p_batch + c * wide;
                for (long t = 0; t < reach; t++) out[t] = out[wide - 1 - t] = 0;
                for (long t = reach; t < 2 * reach; t++) out[t] = out[wide - 1 - t] = -mean;
#pragma omp simd
                for (long t = 0; t < frames; t++) out[2 * reach + t] = leaky(row[t], (REAL)slope) - mean;
            }
            for (long n = 0; n < pool_count; n++) {
                double sum = 0, square = 0;
                for (long b = 0; b < batch; b++) {
                    REAL *pooled = rows + b * frames, part = 0;
                    pool_row(pools[n], x + b * x_batch + c * frames, frames, pooled);
#pragma omp simd reduction(+ : part)
                    for (long t = 0; t < frames; t++) part += pooled[t];
                    sum += part;
                }
                const REAL centre = (REAL)(sum / count);
                for (long b = 0; b < batch; b++) {
                    const REAL *pooled = rows + b * frames;
                    REAL part = 0;
#pragma omp simd reduction(+ : part)
                    for (long t = 0; t < frames; t++) part += (pooled[t] - centre) * (pooled[t] - centre);
                    square += part;
                }
                means[n * channels + c] = centre;
                variances[n * channels + c] = (REAL)(square / count);
            }
        }
        free(rows);
    }
}

/* One node: mix [B, C, T] (the convolution) plus weighted states and normalised pools into the node's first of every
 * `partial` channels; weighted states' other channels into the rest.
 *
 * weights [sources, 1 + pools]; means, scales [sources, pools, C]; bypass [sources]; states: pointers to [B, *, T].
 */
void mix_node(const REAL *mix, const REAL *const *states, const long *state_batch, long sources, const REAL *weights,
              const REAL *means, const REAL *scales, const REAL *bypass, REAL *node, long node_batch, const Pool *pools,
              long pool_count, long batch, long active, long partial, long frames) {
#pragma omp parallel
    {
        REAL *pooled = malloc((frames + 1) * sizeof(REAL));
#pragma omp for schedule(static) collapse(2)
        for (long b = 0; b < batch; b++) {
            for (long channel = 0; channel < active * partial; channel++) {
                const long c = channel % active, group = channel / active;
                REAL *restrict out = node + b * node_batch + (c * partial + group) * frames;
                if (group) {
                    memset(out, 0, frames * sizeof(REAL));
                    for (long s = 0; s < sources; s++) {
                        const REAL *restrict x = states[s] + b * state_batch[s] + channel * frames;
                        const REAL weight = bypass[s];
#pragma omp simd
                        for (long t = 0; t < frames; t++) out[t] += weight * x[t];
                    }
                    continue;
                }
                memcpy(out, mix + (b * active + c) * frames, frames * sizeof(REAL));
                for (long s = 0; s < sources; s++) {
                    const REAL *restrict x = states[s] + b * state_batch[s] + c * frames;
                    const REAL *weight = weights + s * (1 + pool_count);
#pragma omp simd
                    for (long t = 0; t < frames; t++) out[t] += weight[0] * x[t];
                    for (long n = 0; n < pool_count; n++) {
                        const long at = (s * pool_count + n) * active + c;
                        const REAL gain = weight[1 + n] * scales[at], centre = means[at];
                        pool_row(pools[n], x, frames, pooled);
#pragma omp simd
                        for (long t = 0; t < frames; t++) out[t] += gain * (pooled[t] - centre);
                    }
                }
            }
        }
        free(pooled);
    }
}

/* Inner products of a state and its normalised pools with the targets' gradients, and these gradients' sums.
 *
 * x [B, *, T]; gradients: row of (b, j, c) at b * g_batch + j * g_target + c * g_row; products [J, 1 + pools, C];
 * sums [J, C]; rest: of the bypass, [J, *, T] rows alike without padding; direct [C (partial - 1), J].
 */
void project(const REAL *x, long x_batch, const REAL *gradients, long g_batch, long g_target, long g_row, long targets,
             const REAL *means, const REAL *scales, REAL *products, REAL *sums, const REAL *rest, long rest_batch,
             long rest_target, REAL *direct, const Pool *pools, long pool_count, long batch, long active, long partial,
             long frames) {
    const long columns = 1 + pool_count;
#pragma omp parallel
    {
        REAL *pooled = malloc((frames + 1) * sizeof(REAL));
        double *found = malloc((columns + 1) * targets * sizeof(double));
#pragma omp for schedule(static)
        for (long channel = 0; channel < active * partial; channel++) {
            for (long n = 0; n < (columns + 1) * targets; n++) found[n] = 0;
            if (channel >= active) {
                for (long b = 0; b < batch && direct; b++) {
                    const REAL *restrict row = x + b * x_batch + channel * frames;
                    for (long j = 0; j < targets; j++) {
                        const REAL *restrict g = rest + b * rest_batch + j * rest_target + (channel - active) * frames;
                        REAL sum = 0;
#pragma omp simd reduction(+ : sum)
                        for (long t = 0; t < frames; t++) sum += g[t] * row[t];
                        found[j] += sum;
                    }
                }
                for (long j = 0; j < targets && direct; j++) direct[(channel - active) * targets + j] = (REAL)found[j];
                continue;
            }
            for (long b = 0; b < batch; b++) {
                const REAL *row = x + b * x_batch + channel * frames;
                for (long column = 0; column < columns; column++) {
                    REAL centre = 0, scale = 1;
                    const REAL *restrict values = row;
                    if (column) {
                        centre = means[(column - 1) * active + channel];
                        scale = scales[(column - 1) * active + channel];
                        pool_row(pools[column - 1], row, frames, pooled);
                        values = pooled;
                    }
                    for (long j = 0; j < targets; j++) {
                        const REAL *restrict g = gradients + b * g_batch + j * g_target + channel * g_row;
                        REAL product = 0, sum = 0;
#pragma omp simd reduction(+ : product, sum)
                        for (long t = 0; t < frames; t++) {
                            product += g[t] * (values[t] - centre);
                            sum += g[t];
                        }
                        found[column * targets + j] += product * scale;
                        if (!column) found[columns * targets + j] += sum;
                    }
                }
            }
            for (long j = 0; j < targets; j++) {
                for (long column = 0; column < columns; column++)
                    products[(j * columns + column) * active + channel] = (REAL)found[column * targets + j];
                sums[j * active + channel] = (REAL)found[columns * targets + j];
            }
        }
        free(pooled);
        free(found);
    }
}

/* Gradient of a state from its targets: added to `out` [B, *, T].
 *
 * du [B, C, T]: gradient of LeakyReLU(x). weights [J, 1 + pools]; bypass [J]; products, sums of `project`.
 */
void collect(const REAL *x, long x_batch, const REAL *du, const REAL *gradients, long g_batch, long g_target, long g_row,
             long targets, const REAL *weights, const REAL *products, const REAL *sums, const REAL *means,
             const REAL *scales, const REAL *rest, long rest_batch, long rest_target, const REAL *bypass, REAL *out,
             long out_batch, const Pool *pools, long pool_count, long batch, long active, long partial, long frames,
             double slope) {
    const long columns = 1 + pool_count;
    const double count = (double)batch * (double)frames;
#pragma omp parallel
    {
        REAL *pooled = malloc((frames + 1) * sizeof(REAL)), *through = malloc((frames + 1) * sizeof(REAL));
#pragma omp for schedule(static) collapse(2)
        for (long b = 0; b < batch; b++) {
            for (long channel = 0; channel < active * partial; channel++) {
                const REAL *restrict row = x + b * x_batch + channel * frames;
                REAL *restrict to = out + b * out_batch + channel * frames;
                if (channel >= active) {
                    for (long j = 0; j < targets; j++) {
                        const REAL *restrict g = rest + b * rest_batch + j * rest_target + (channel - active) * frames;
                        const REAL weight = bypass[j];
#pragma omp simd
                        for (long t = 0; t < frames; t++) to[t] += weight * g[t];
                    }
                    continue;
                }
                const REAL *restrict inner = du + (b * active + channel) * frames;
#pragma omp simd
                for (long t = 0; t < frames; t++) to[t] += row[t] > 0 ? inner[t] : (REAL)slope * inner[t];
                const REAL *base = gradients + b * g_batch + channel * g_row;
                for (long j = 0; j < targets; j++) {
                    const REAL *restrict g = base + j * g_target;
                    const REAL weight = weights[j * columns];
#pragma omp simd
                    for (long t = 0; t < frames; t++) to[t] += weight * g[t];
                }
                for (long n = 0; n < pool_count; n++) {
                    const REAL centre = means[n * active + channel], scale = scales[n * active + channel];
                    double total = 0, product = 0;
                    for (long j = 0; j < targets; j++) {
                        const double weight = weights[j * columns + 1 + n];
                        total += weight * sums[j * active + channel];
                        product += weight * products[(j * columns + 1 + n) * active + channel];
                    }
                    /* scale * (g - mean - normal * slope), normal = (pooled - centre) * scale */
                    const REAL tilt = (REAL)(product / count) * scale * scale;
                    const REAL level = (REAL)(total / count) * scale - tilt * centre;
                    pool_row(pools[n], row, frames, pooled);
#pragma omp simd
                    for (long t = 0; t < frames; t++) through[t] = -level - tilt * pooled[t];
                    for (long j = 0; j < targets; j++) {
                        const REAL *restrict g = base + j * g_target;
                        const REAL weight = weights[j * columns + 1 + n] * scale;
#pragma omp simd
                        for (long t = 0; t < frames; t++) through[t] += weight * g[t];
                    }
                    pool_row_backward(pools[n], through, row, pooled, frames, to);
                }
            }
        }
        free(pooled);
        free(through);
    }
}

/* Max-pool 2 over frames of [rows, T] and back; of two equal frames the first takes the gradient. */
void halve(const REAL *x, REAL *out, long rows, long frames) {
    const long half = frames / 2;
#pragma omp parallel for schedule(static)
    for (long r = 0; r < rows; r++) {
        const REAL *restrict row = x + r * frames;
        REAL *restrict to = out + r * half;
#pragma omp simd
        for (long t = 0; t < half; t++) to[t] = row[2 * t] >= row[2 * t + 1] ? row[2 * t] : row[2 * t + 1];
    }
}

void halve_backward(const REAL *gradient, long g_batch, const REAL *x, long x_batch, REAL *out, long batch,
                    long channels, long frames) {
    const long half = frames / 2;
#pragma omp parallel for schedule(static) collapse(2)
    for (long b = 0; b < batch; b++) {
        for (long c = 0; c < channels; c++) {
            const REAL *restrict row = x + b * x_batch + c * frames, *restrict g = gradient + b * g_batch + c * half;
            REAL *restrict to = out + (b * channels + c) * frames;
            if (frames & 1) to[frames - 1] = 0;
#pragma omp simd
            for (long t = 0; t < half; t++) {
                const int first = row[2 * t] >= row[2 * t + 1];
                to[2 * t] = first ? g[t] : (REAL)0;
                to[2 * t + 1] = first ? (REAL)0 : g[t];
            }
        }
    }
}

/* Batch normalisation of x [B, C, T] by its own statistics, and back. */
void normalise(const REAL *x, long x_batch, REAL *out, REAL *means, REAL *variances, long batch, long channels,
               long frames, double eps) {
    const double count = (double)batch * (double)frames;
#pragma omp parallel for schedule(static)
    for (long c = 0; c < channels; c++) {
        double total = 0, square = 0;
        for (long b = 0; b < batch; b++) {
            const REAL *row = x + b * x_batch + c * frames;
            REAL sum = 0;
#pragma omp simd reduction(+ : sum)
            for (long t = 0; t < frames; t++) sum += row[t];
            total += sum;
        }
        const REAL mean = (REAL)(total / count);
        for (long b = 0; b < batch; b++) {
            const REAL *row = x + b * x_batch + c * frames;
            REAL sum = 0;
#pragma omp simd reduction(+ : sum)
            for (long t = 0; t < frames; t++) sum += (row[t] - mean) * (row[t] - mean);
            square += sum;
        }
        means[c] = mean;
        variances[c] = (REAL)(square / count);
        const REAL scale = (REAL)(1 / sqrt(square / count + eps));
        for (long b = 0; b < batch; b++) {
            const REAL *restrict row = x + b * x_batch + c * frames;
            REAL *restrict to = out + (b * channels + c) * frames;
#pragma omp simd
            for (long t = 0; t < frames; t++) to[t] = (row[t] - mean) * scale;
        }
    }
}

void normalise_backward(const REAL *gradient, long g_batch, const REAL *normal, const REAL *scale, REAL *out, long batch,
                        long channels, long frames) {
    const double count = (double)batch * (double)frames;
#pragma omp parallel for schedule(static)
    for (long c = 0; c < channels; c++) {
        double total = 0, product = 0;
        for (long b = 0; b < batch; b++) {
            const REAL *restrict g = gradient + b * g_batch + c * frames;
            const REAL *restrict n = normal + (b * channels + c) * frames;
            REAL sum = 0, dot = 0;
#pragma omp simd reduction(+ : sum, dot)
            for (long t = 0; t < frames; t++) {
                sum += g[t];
                dot += g[t] * n[t];
            }
            total += sum;
            product += dot;
        }
        const REAL level = (REAL)(total / count), slope = (REAL)(product / count), by = scale[c];
        for (long b = 0; b < batch; b++) {
            const REAL *restrict g = gradient + b * g_batch + c * frames;
            const REAL *restrict n = normal + (b * channels + c) * frames;
            REAL *restrict to = out + (b * channels + c) * frames;
#pragma omp simd
            for (long t = 0; t < frames; t++) to[t] = by * (g[t] - level - slope * n[t]);
        }
    }
}
