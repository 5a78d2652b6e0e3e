package org.json;

import java.util.Collection;

public class JSONArray {
    public JSONArray() {}

    public JSONArray(Collection<?> values) {}

    public native int length();

    public native JSONObject getJSONObject(int index) throws JSONException;

    public native String getString(int index) throws JSONException;

    public native JSONArray put(Object value);
}
