"""The tasks: what a trained model is for.  Each is a module with

    FIELD               the field of an example that holds its truth ("segmentation")
    OUTPUTS             {output of an exported graph: its shape and meaning}
    MAIN, KEPT          the score that a person reads, and the one that an exported file must keep
    EACH                what `Scored.per_image` holds ("IoU"), None where images have no score of their own
    TOLERANCES          {kind of exported file: Tolerance}
    classes(dataset)            names of the classes
    num_classes(outputs)        how many a graph with these outputs predicts, None where they do not tell
    graph(network, about)       the Keras model that is exported: image to OUTPUTS
    interpret(outputs, about, size, limits)     outputs for one image of `size` (H, W) as a Prediction
    differences(expected, got, about)           (Differences, Counts or None) of an exported file's outputs
    score(predict, dataset, labels, progress=iter, keep=False)      Scored; `keep` fills truth and results
    figures(models, dataset, test)              (file name, report Figure without image, picture) for the report

A Prediction has `summary()` (JSON), `in_words()` (one line) and `draw(image, alpha)`.  Importing this room imports
neither Keras nor TensorFlow: a .tflite file runs without them.  To add a task, write its module and add a row here.
"""

from kerastransfer.tasks import classification, detection, instances, segmentation

TASKS = {
    "detection": detection,
    "instances": instances,
    "segmentation": segmentation,
    "classification": classification,
}
