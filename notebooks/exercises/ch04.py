"""Exercises of chapter 04, relative position bias."""

import numpy as np


def check_1(answer):
    """answer(rows, columns, M): the offset's index."""
    for M in (2, 3, 7):
        seen = {}
        for rows in range(-(M - 1), M):
            for columns in range(-(M - 1), M):
                got, want = answer(rows, columns, M), (rows + M - 1) * (2 * M - 1) + columns + M - 1
                offset = f"M = {M}, offset ({rows}, {columns})"
                if np.ndim(got):
                    return f"{offset}: expected one number, got {got}"
                if not 0 <= got < (2 * M - 1) ** 2:
                    return f"{offset}: expected an index from 0 to {(2 * M - 1) ** 2 - 1}, got {got}"
                if got in seen:
                    return f"{offset} gives {got}, and so does {seen[got]}: two offsets would share one bias"
                if got != want:
                    return f"{offset}: expected {want}, got {got}"
                seen[got] = f"({rows}, {columns})"


def solution_1(rows, columns, M):
    return (rows + M - 1) * (2 * M - 1) + columns + M - 1


def wrong_1_negative(rows, columns, M):
    return rows * (2 * M - 1) + columns


def wrong_1_sum(rows, columns, M):
    return rows + M - 1 + columns + M - 1


def wrong_1_swapped(rows, columns, M):
    return (columns + M - 1) * (2 * M - 1) + rows + M - 1


def right_1_as_flat_index(rows, columns, M):
    return np.ravel_multi_index((rows + M - 1, columns + M - 1), (2 * M - 1, 2 * M - 1))


def right_1_from_the_middle(rows, columns, M):
    side = 2 * M - 1
    return side**2 // 2 + rows * side + columns


def check_2(answer):
    """answer(index, M): the offset (rows, columns)."""
    for M in (2, 3, 7):
        for index in range((2 * M - 1) ** 2):
            got, want = answer(index, M), (index // (2 * M - 1) - M + 1, index % (2 * M - 1) - M + 1)
            if np.shape(got) != (2,):
                return f"expected two numbers (rows, columns), got {got}"
            if tuple(got) != want:
                return f"M = {M}, index {index}: expected the offset {want}, got {got}"


def solution_2(index, M):
    rows, columns = divmod(index, 2 * M - 1)  # the two digits
    return rows - (M - 1), columns - (M - 1)


def wrong_2(index, M):
    return divmod(index, 2 * M - 1)


def wrong_2_base(index, M):
    rows, columns = divmod(index, M)
    return rows - (M - 1), columns - (M - 1)


def wrong_2_key_minus_query(index, M):
    rows, columns = divmod(index, 2 * M - 1)
    return M - 1 - rows, M - 1 - columns


def right_2_unravel(index, M):
    return np.array(np.unravel_index(index, (2 * M - 1, 2 * M - 1))) - (M - 1)


def right_2_list(index, M):
    return [index // (2 * M - 1) + 1 - M, index % (2 * M - 1) + 1 - M]


def check_3(answer):
    """answer(M): a table of one head that looks at the key below the query."""
    for M in (3, 7):
        table = np.asarray(answer(M))
        if table.shape != ((2 * M - 1) ** 2,):
            return f"M = {M}: expected the shape {((2 * M - 1) ** 2,)}, got {table.shape}"
        if np.count_nonzero(table) != 1 or table.max() != 5:
            return f"M = {M}: expected one 5 and zeros, got the values {sorted(set(table.tolist()))}"
        rows, columns = (int(digit) - (M - 1) for digit in divmod(table.argmax(), 2 * M - 1))
        if (rows, columns) != (-1, 0):
            return (
                f"M = {M}: the 5 belongs to query - key = ({rows}, {columns}), so the key lies at query + "
                f"({-rows}, {-columns}); expected query + (1, 0)"
            )


def solution_3(M):
    table = np.zeros((2 * M - 1, 2 * M - 1))
    table[-1 + M - 1, 0 + M - 1] = 5  # the key is one row below: query - key = (-1, 0)
    return table.ravel()


def wrong_3_above(M):
    table = np.zeros((2 * M - 1, 2 * M - 1))
    table[1 + M - 1, M - 1] = 5
    return table.ravel()


def wrong_3_right(M):
    table = np.zeros((2 * M - 1, 2 * M - 1))
    table[M - 1, -1 + M - 1] = 5
    return table.ravel()


def wrong_3_in_a_window(M):
    table = np.zeros((2 * M - 1) ** 2)
    table[M] = 5
    return table


def right_3_flat(M):
    table = np.zeros((2 * M - 1) ** 2)
    table[solution_1(-1, 0, M)] = 5
    return table


def right_3_list(M):
    return [5 * (solution_2(index, M) == (-1, 0)) for index in range((2 * M - 1) ** 2)]


def check_4(answer):
    """answer(mh, mw): the index of all pairs of a rectangular window."""
    for mh, mw in ((2, 2), (3, 4), (4, 3), (1, 5)):
        index, m = np.asarray(answer(mh, mw)), mh * mw
        if index.shape != (m, m):
            return f"{mh} x {mw} tokens: expected the shape {(m, m)}, got {index.shape}"
        row, column = np.divmod(np.arange(m), mw)
        want = (row[:, None] - row + mh - 1) * (2 * mw - 1) + column[:, None] - column + mw - 1
        different = len(np.unique(index))
        if different != (2 * mh - 1) * (2 * mw - 1):
            return (
                f"{mh} x {mw} tokens have {(2 * mh - 1) * (2 * mw - 1)} offsets, but got {different} different indices"
            )
        if not np.array_equal(index, want):
            i, j = np.argwhere(index != want)[0]
            return f"{mh} x {mw} tokens, query {i}, key {j}: expected {want[i, j]}, got {index[i, j]}"


def solution_4(mh, mw):
    index = np.zeros((mh * mw, mh * mw), dtype=int)
    for i in range(mh * mw):
        for j in range(mh * mw):
            rows, columns = i // mw - j // mw, i % mw - j % mw  # a row of the window holds mw tokens
            index[i, j] = (rows + mh - 1) * (2 * mw - 1) + columns + mw - 1
    return index


def wrong_4_multiplier(mh, mw):
    row, column = np.divmod(np.arange(mh * mw), mw)
    return (row[:, None] - row + mh - 1) * (2 * mh - 1) + column[:, None] - column + mw - 1


def wrong_4_columns_first(mh, mw):
    row, column = np.arange(mh * mw) % mh, np.arange(mh * mw) // mh
    return (row[:, None] - row + mh - 1) * (2 * mw - 1) + column[:, None] - column + mw - 1


def wrong_4_key_minus_query(mh, mw):
    return solution_4(mh, mw).T


def right_4_broadcast(mh, mw):
    row, column = np.indices((mh, mw)).reshape(2, -1)
    return (row[:, None] - row + mh - 1) * (2 * mw - 1) + column[:, None] - column + mw - 1


def right_4_places(mh, mw):
    place = (np.arange(mh)[:, None] * (2 * mw - 1) + np.arange(mw)).ravel()
    return place[:, None] + place[::-1]


def check_5(answer):
    """answer(depths, num_heads, window_size): how many numbers all tables hold."""
    for depths, heads, M in (((1,), (1,), 2), ((2, 2), (1, 2), 3), ((2, 2, 6, 2), (3, 6, 12, 24), 7)):
        got = answer(depths, heads, M)
        want = (2 * M - 1) ** 2 * sum(depth * head for depth, head in zip(depths, heads, strict=True))
        if got != want:
            return f"depths {depths}, heads {heads}, window {M}: expected {want:,}, got {got:,}"


def solution_5(depths, num_heads, window_size):
    columns = sum(blocks * heads for blocks, heads in zip(depths, num_heads, strict=True))  # one a block and head
    return (2 * window_size - 1) ** 2 * columns


def wrong_5_one_a_stage(depths, num_heads, window_size):
    return (2 * window_size - 1) ** 2 * sum(num_heads)


def wrong_5_shared_by_heads(depths, num_heads, window_size):
    return (2 * window_size - 1) ** 2 * sum(depths)


def right_5_loop(depths, num_heads, window_size):
    total = 0
    for stage, blocks in enumerate(depths):
        for _ in range(blocks):
            total += (2 * window_size - 1) ** 2 * num_heads[stage]
    return total


def right_5_dot(depths, num_heads, window_size):
    return np.dot(depths, num_heads) * (4 * window_size**2 - 4 * window_size + 1)


def wrong_5_pairs(depths, num_heads, window_size):
    return window_size**4 * sum(blocks * heads for blocks, heads in zip(depths, num_heads, strict=True))
