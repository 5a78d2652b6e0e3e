package android.content.res;

import java.io.File;
import java.io.FileInputStream;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;

/** Files of the folders that the property mien.assets names: those of the library, and those of its tests. */
public final class AssetManager {
    public InputStream open(String name) throws IOException {
        for (String folder : System.getProperty("mien.assets").split(File.pathSeparator)) {
            File file = new File(folder, name);
            if (file.isFile()) return new FileInputStream(file);
        }
        throw new FileNotFoundException(name);
    }
}
