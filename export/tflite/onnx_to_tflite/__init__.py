"""ONNX -> TFLite by onnx2tf: a program that runs in an environment of its own (``mien setup tflite``).

It imports what that environment has, and nothing of mien, of PyTorch or of a user.
``converters.onnx2tf_program`` starts it.
"""
