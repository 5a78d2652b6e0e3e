package org.junit;

import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;

/** Runs the tests of the class that is named, in the place of Android's runner. */
public final class RunTests {
    public static void main(String[] arguments) throws Throwable {
        Class<?> tests = Class.forName(arguments[0]);
        for (Method method : tests.getMethods()) {
            if (!method.isAnnotationPresent(Test.class)) continue;
            try {
                method.invoke(tests.getDeclaredConstructor().newInstance());
            } catch (InvocationTargetException error) {
                throw error.getCause();
            }
        }
    }
}
