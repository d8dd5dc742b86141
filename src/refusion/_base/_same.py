"""One answer to "is this the same value?", for mutable states and consolidation."""

__all__ = ["is_same"]


def is_same(left: object, right: object) -> bool:
    """Tell whether `right` may silently stand for `left`.

    The same object is; otherwise the types must be equal and `==` must give a plain true value.
    NaN is the same as NaN. A comparison that raises, or gives something that is not a bool (an
    array), counts as "different", so that nothing is lost.
    """
    if left is right:
        return True
    if type(left) is not type(right):
        return False
    try:
        if isinstance(left, float) and left != left and right != right:
            return True
        equal = left == right
    except Exception:
        return False
    return equal is True
