package org.tensorflow.lite;

import java.nio.ByteBuffer;
import java.util.Map;

public final class Interpreter implements AutoCloseable {
    public static class Options {
        public native Options setNumThreads(int threads);

        public native Options addDelegate(Delegate delegate);
    }

    public Interpreter(ByteBuffer model, Options options) {}

    public native String[] getSignatureInputs(String signature);

    public native String[] getSignatureOutputs(String signature);

    public native Tensor getInputTensorFromSignature(String name, String signature);

    public native Tensor getOutputTensorFromSignature(String name, String signature);

    public native void runSignature(Map<String, Object> inputs, Map<String, Object> outputs, String signature);

    @Override
    public native void close();
}
