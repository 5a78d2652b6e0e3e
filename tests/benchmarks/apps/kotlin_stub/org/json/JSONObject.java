package org.json;

import java.util.Iterator;

public class JSONObject {
    public static final Object NULL = new Object();

    public JSONObject() {}

    public JSONObject(String text) throws JSONException {}

    public native Iterator<String> keys();

    public native Object get(String name) throws JSONException;

    public native String getString(String name) throws JSONException;

    public native int getInt(String name) throws JSONException;

    public native double getDouble(String name) throws JSONException;

    public native JSONObject getJSONObject(String name) throws JSONException;

    public native JSONArray getJSONArray(String name) throws JSONException;

    public native JSONObject put(String name, int value) throws JSONException;

    public native JSONObject put(String name, double value) throws JSONException;

    public native JSONObject put(String name, Object value) throws JSONException;
}
