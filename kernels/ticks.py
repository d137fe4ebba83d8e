"""Many ticks to the newest value of each field: what a screen or a risk run needs of a burst is its end.

    latest[slot, field] = the last value that came for it;   slots that were touched are listed once, in order of first touch

Twin: a dictionary by (slot, field).
"""
from ._jit import kernel


@kernel
def conflate(slot, field, value, latest, touched, changed):
    """Take a burst of ticks in order of arrival.

    Parameters
    ----------
    slot, field : (n,) int64, row and column of `latest`
    value : (n,) float64; a NaN is a value like others
    latest : (m, f) float64, carried on
    touched : (m,) bool, False throughout at entry and at exit
    changed : (m,) int64, its first entries are written

    Returns
    -------
    int, how many slots changed
    """
    count = 0
    for i in range(slot.size):
        s = slot[i]
        latest[s, field[i]] = value[i]
        if not touched[s]:
            touched[s] = True
            changed[count] = s
            count += 1
    for i in range(count):
        touched[changed[i]] = False
    return count
