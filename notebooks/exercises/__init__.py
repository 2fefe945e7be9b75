"""The exercises, one module a chapter: chNN.py belongs to chapter NN.

Exercise k of a chapter is three kinds of function:

    check_k(answer)   tries the learner's function; returns None if it is right, else one sentence that says what is
                      wrong, with numbers. It may raise: `lesson.check` shows any exception as a hint.
    solution_k(...)   the answer: same arguments as the function asked for. `lesson.solution` shows its source.
    wrong_k…(...)     typical wrong answers (wrong_2, wrong_2_rows, …) that check_k has to refuse.
"""
