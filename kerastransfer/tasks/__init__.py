"""The tasks that a trained model can be for. Each is a module with

    FIELD               the field of an example that holds the ground truth ("segmentation")
    OUTPUTS             {output of an exported graph: its shape and meaning}
    MAIN, KEPT          the score that is shown first, and the score that an exported file must keep
    DECODED             whether a network's raw predictions need `About.decoder`
    EACH                what `Scored.per_image` holds ("IoU"), or None if images have no score of their own
    TOLERANCES          {kind of exported file: Tolerance}
    classes(dataset)            names of the classes
    num_classes(outputs)        number of classes of a graph with these outputs, or None if they do not show it
    graph(network, about)       the Keras model that is exported: image to OUTPUTS
    interpret(outputs, about, size, limits)     outputs for one image of `size` (H, W) as a Prediction
    differences(expected, got, about)           (Differences, Counts or None) of an exported file's outputs
    score(predict, dataset, labels, progress=iter, keep=False)      Scored; with `keep`, with truth and results
    figures(models, dataset, test)              (file name, report Figure without image, picture) for the report

A Prediction has `summary()` (JSON), `in_words()` (one line) and `draw(image, alpha)`. Importing this package imports
neither Keras nor TensorFlow, because .tflite files run without them. To add a task, write its module and add a row
here.
"""

from kerastransfer.tasks import classification, detection, instances, segmentation

TASKS = {
    "detection": detection,
    "instances": instances,
    "segmentation": segmentation,
    "classification": classification,
}
