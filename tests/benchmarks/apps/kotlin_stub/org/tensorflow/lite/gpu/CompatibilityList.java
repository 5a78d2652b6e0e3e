package org.tensorflow.lite.gpu;

import java.io.Closeable;

public class CompatibilityList implements Closeable {
    public native boolean isDelegateSupportedOnThisDevice();

    @Override
    public native void close();
}
