"""Inner loops of cross mapping, compiled by numba (extra `edm`); scan.py imports them when needed.

There are two methods. `walk` processes 64 libraries at a time: a 64-bit word per state holds one
bit per library, and one pass along the sorted neighbours of a state finds the nearest members of
all these libraries. `sweep` is used for small libraries: it compares each member of a library with
128 states at once.
"""

import math

import numpy as np
from numba.cpython.unsafe.numbers import trailing_zeros

from analysis.edm.compiled import compiled

WORD = 64  # libraries processed together by `walk`
LANES = 128  # states processed together by `sweep`
LOG2_E, LN2_HIGH, LN2_LOW = 1 / math.log(2), 0.6931471803691238, 1.9082149292705877e-10
C2, C3, C4, C5, C6, C7, C8, C9, C10, C11, C12 = (1 / math.factorial(n) for n in range(2, 13))
MEMBER_BITS = 12  # number of bits for the number of a member within a library in `sweep`


@compiled
def exponential(x, power, scale):
    """Replace values <= 0 by their exponentials, in loops that compile to vector instructions.

    The result is 2^n e^r with |r| <= ln 2 / 2, where e^r is computed by its power series. It
    differs by at most 3e-16 from the exponential of the standard library, which takes 2.4 times
    as long. `scale` is the memory of `power` viewed as floats.
    """
    for i in range(len(x)):
        value = max(x[i], -708.0)
        n = np.floor(value * LOG2_E + 0.5)
        r = value - n * LN2_HIGH - n * LN2_LOW
        x[i] = 1 + r * (1 + r * (C2 + r * (C3 + r * (C4 + r * (C5 + r * (C6 + r * (
            C7 + r * (C8 + r * (C9 + r * (C10 + r * (C11 + r * C12)))))))))))  # fmt: skip
        power[i] = (np.int64(n) + 1023) << 52
    for i in range(len(x)):
        x[i] *= scale[i]


@compiled
def add(wanted, i, index, near, whole, weight, power, scale, estimate, moments):
    """Add the estimates of one state by all libraries to the sums of these libraries."""
    samples, count = near.shape
    for s in range(samples):
        for k in range(1, count):
            # exp(-d / d_1) up to a factor. If d_1 is 0 and d is not, the weight becomes 0.
            further = near[s, k] - near[s, 0]
            weight[s * (count - 1) + k - 1] = -further / near[s, 0] if further > 0 else 0.0
    exponential(weight, power, scale)
    for s in range(samples):
        if not whole[s]:
            continue
        norm, j = 1.0, index[s, 0]
        for v in range(len(estimate)):
            estimate[v] = wanted[j, v]
        for k in range(1, count):
            own, j = weight[s * (count - 1) + k - 1], index[s, k]
            norm += own
            for v in range(len(estimate)):
                estimate[v] += own * wanted[j, v]
        for v in range(len(estimate)):
            guess, true = estimate[v] / norm, wanted[i, v]
            moments[s, 0, v] += 1
            moments[s, 1, v] += guess
            moments[s, 2, v] += true
            moments[s, 3, v] += guess * guess
            moments[s, 4, v] += true * true
            moments[s, 5, v] += guess * true


@compiled
def search(states, rows, theiler, i, members, index, near):
    """Find the nearest admissible members of one library; return False if there are too few."""
    count, found = len(index), 0
    near[:] = np.inf
    for j in members:
        apart = abs(rows[j] - rows[i])
        if apart <= theiler:
            continue
        squared = 0.0
        for e in range(states.shape[1]):
            step = states[i, e] - states[j, e]
            squared += step * step
        place = found
        while place > 0 and squared <= near[place - 1]:
            if squared == near[place - 1]:
                other = abs(rows[index[place - 1]] - rows[i])
                if apart > other or (apart == other and rows[j] > rows[index[place - 1]]):
                    break
            place -= 1
        if place < count:
            found = min(found + 1, count)
            for k in range(found - 1, place, -1):
                index[k], near[k] = index[k - 1], near[k - 1]
            index[place], near[place] = j, squared
    for k in range(found):
        near[k] = np.sqrt(near[k])
    return found == count


@compiled
def walk(states, rows, order, distance, theiler, wanted, members, count, moments):
    """Add the estimates by up to 64 libraries at once; each library has one bit of a word."""
    (total, listed), samples = order.shape, len(members)
    one, words, full = np.uint64(1), np.zeros(total, np.uint64), np.uint64(0)
    for s in range(samples):
        full |= one << np.uint64(s)
        for j in members[s]:
            words[j] |= one << np.uint64(s)
    index, near = np.empty((samples, count), np.int64), np.empty((samples, count))
    found, whole = np.empty(samples, np.int64), np.empty(samples, np.bool_)
    weight, power = np.empty(samples * (count - 1)), np.empty(samples * (count - 1), np.int64)
    scale, estimate = power.view(np.float64), np.empty(wanted.shape[1])
    for i in range(total):
        found[:] = 0
        waiting, place = full, 0
        while waiting and place < listed and distance[i, place] < np.inf:
            j = order[i, place]
            bits = words[j] & waiting
            while bits:
                s = trailing_zeros(bits)
                index[s, found[s]], near[s, found[s]] = j, distance[i, place]
                found[s] += 1
                if found[s] == count:
                    waiting &= ~(one << np.uint64(s))
                bits &= bits - one
            place += 1
        for s in range(samples):
            whole[s] = found[s] == count or (
                listed < total and search(states, rows, theiler, i, members[s], index[s], near[s])
            )
        add(wanted, i, index, near, whole, weight, power, scale, estimate, moments)


@compiled
def rank(states, rows, theiler, block, when, members, ranked, squared):
    """Rank the nearest members for each of `LANES` states by integers.

    An integer holds both the squared distance and the number of a member. The number replaces the
    last bits of the squared distance, so that sorting needs only minima and maxima of integers.
    """
    low, keys = np.int64(2**MEMBER_BITS - 1), squared.view(np.int64)
    ranked[:] = np.iinfo(np.int64).max
    for m in range(len(members)):
        j = members[m]
        squared[:] = 0.0
        for e in range(len(block)):
            value = states[j, e]
            for r in range(LANES):
                squared[r] += (block[e, r] - value) ** 2
        row = rows[j]
        for r in range(LANES):
            squared[r] = np.inf if abs(when[r] - row) <= theiler else squared[r]
        for r in range(LANES):
            keys[r] = (keys[r] & ~low) | m
        for k in range(len(ranked)):
            for r in range(LANES):
                mine, its = keys[r], ranked[k, r]
                ranked[k, r] = min(mine, its)
                keys[r] = max(mine, its)


@compiled
def settle(states, rows, theiler, i, members, ranked, index, near):
    """Read members and distances from the ranking of one state.

    Return False if the order depends on the bits that were replaced, or if a member within the
    Theiler window was ranked.
    """
    low, clear = np.int64(2**MEMBER_BITS - 1), True
    for k in range(len(index)):
        clear &= ranked[k] | low != ranked[k + 1] | low
        j = members[ranked[k] & low]
        index[k], squared = j, 0.0
        for e in range(states.shape[1]):
            squared += (states[i, e] - states[j, e]) ** 2
        near[k] = np.sqrt(squared)
        clear &= abs(rows[j] - rows[i]) > theiler
    return clear


@compiled
def sweep(states, rows, theiler, wanted, members, count, moments):
    """Add the estimates by small libraries, one library at a time and `LANES` states at once."""
    samples, features = len(members), states.shape[1]
    ranked, squared = np.empty((count + 1, LANES), np.int64), np.empty(LANES)
    block, when = np.zeros((features, LANES)), np.zeros(LANES)
    index = np.empty((LANES, samples, count), np.int64)
    near = np.empty((LANES, samples, count))
    whole = np.empty((LANES, samples), np.bool_)
    weight, power = np.empty(samples * (count - 1)), np.empty(samples * (count - 1), np.int64)
    scale, estimate = power.view(np.float64), np.empty(wanted.shape[1])
    for start in range(0, len(states), LANES):
        lanes = min(LANES, len(states) - start)
        block[:, :lanes] = states[start : start + lanes].T
        when[:lanes] = rows[start : start + lanes]
        for s in range(samples):
            rank(states, rows, theiler, block, when, members[s], ranked, squared)
            for r in range(lanes):
                i, own = start + r, ranked[:, r]
                whole[r, s] = settle(
                    states, rows, theiler, i, members[s], own, index[r, s], near[r, s]
                ) or search(states, rows, theiler, i, members[s], index[r, s], near[r, s])
        for r in range(lanes):
            add(
                wanted, start + r, index[r], near[r], whole[r], weight, power, scale, estimate,
                moments,
            )  # fmt: skip
