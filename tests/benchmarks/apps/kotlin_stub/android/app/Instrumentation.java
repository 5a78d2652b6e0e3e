package android.app;

import android.content.Context;

public class Instrumentation {
    public native Context getContext();
}
