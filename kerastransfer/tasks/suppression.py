"""Non-maximum suppression in NumPy, outside a graph."""

import numpy as np


def suppress(
    boxes: np.ndarray, scores: np.ndarray, score: float, iou: float, detections: int
) -> tuple[np.ndarray, np.ndarray]:
    """Greedy non-maximum suppression within each class.

    boxes: (A, (y1, x1, y2, x2)). scores: (A, K). Returns the indices (N,) of the boxes that are kept and their labels
    (N,), int32, best first.
    """
    areas = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=-1)
    kept = []
    for label in range(scores.shape[1]):
        waiting = np.flatnonzero(scores[:, label] >= score)
        waiting = waiting[np.argsort(-scores[waiting, label], kind="stable")]
        for _ in range(detections):
            if not len(waiting):
                break
            best, waiting = waiting[0], waiting[1:]
            kept.append((best, label))
            corner = np.maximum(boxes[best, :2], boxes[waiting, :2])
            shared = np.prod(np.maximum(np.minimum(boxes[best, 2:], boxes[waiting, 2:]) - corner, 0), axis=-1)
            waiting = waiting[shared <= iou * (areas[best] + areas[waiting] - shared)]
    chosen, labels = np.array(kept, np.int32).reshape(-1, 2).T
    order = np.argsort(-scores[chosen, labels], kind="stable")[:detections]
    return chosen[order], labels[order]
