package org.tensorflow.lite.gpu;

import java.io.Closeable;

public class CompatibilityList implements Closeable {
    public boolean isDelegateSupportedOnThisDevice() {
        return false;
    }

    @Override
    public void close() {}
}
