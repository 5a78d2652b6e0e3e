package android.os;

/** No phone, and says so: its hardware is that of an emulator. */
public class Build {
    public static final String MANUFACTURER = name("stand-in");
    public static final String MODEL = name("JVM");
    public static final String HARDWARE = name("goldfish");
    public static final String[] SUPPORTED_ABIS = {"x86_64"};

    public static class VERSION {
        public static final int SDK_INT = 1;
    }

    private static String name(String name) {
        return name;
    }
}
