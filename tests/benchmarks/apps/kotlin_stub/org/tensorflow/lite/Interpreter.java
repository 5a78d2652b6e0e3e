package org.tensorflow.lite;

import java.io.DataInputStream;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.json.JSONArray;
import org.json.JSONException;
import org.json.JSONObject;

/** Hands tensors to LiteRT in another process, tests/benchmarks/apps/model_server.py, and computes nothing. */
public final class Interpreter implements AutoCloseable {
    private static Server server;
    private final int model;
    private final JSONObject inputs;
    private final JSONObject outputs;

    public static class Options {
        public Options setNumThreads(int threads) {
            return this;
        }

        public Options addDelegate(Delegate delegate) {
            throw new IllegalArgumentException("a stand-in has no delegates");
        }
    }

    /** A question is a line of JSON and bytes, and so is its answer. */
    private record Server(OutputStream questions, DataInputStream answers) {
        static Server open() throws IOException {
            Path folder = Path.of(System.getProperty("mien.models"));
            OutputStream questions = new FileOutputStream(folder.resolve("questions").toFile());
            return new Server(questions, new DataInputStream(new FileInputStream(folder.resolve("answers").toFile())));
        }

        JSONObject ask(JSONObject question, List<byte[]> parts) throws IOException, JSONException {
            JSONArray sizes = new JSONArray();
            for (byte[] part : parts) sizes.put(part.length);
            question.put("sizes", sizes);
            questions.write((question + "\n").getBytes(StandardCharsets.UTF_8));
            for (byte[] part : parts) questions.write(part);
            questions.flush();
            JSONObject answer = new JSONObject(line());
            if (answer.has("error")) throw new IllegalArgumentException(answer.getString("error"));
            return answer;
        }

        private String line() throws IOException {
            StringBuilder line = new StringBuilder();
            for (int next = answers.readUnsignedByte(); next != '\n'; next = answers.readUnsignedByte()) line.append((char) next);
            return line.toString();
        }
    }

    public Interpreter(ByteBuffer model, Options options) {
        try {
            if (server == null) server = Server.open();
            JSONObject answer = server.ask(new JSONObject().put("load", "tflite"), List.of(bytes(model)));
            this.model = answer.getInt("model");
            inputs = answer.getJSONObject("inputs");
            outputs = answer.getJSONObject("outputs");
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        } catch (JSONException error) {
            throw new IllegalStateException(error);
        }
    }

    public String[] getSignatureInputs(String signature) {
        return names(inputs);
    }

    public String[] getSignatureOutputs(String signature) {
        return names(outputs);
    }

    public Tensor getInputTensorFromSignature(String name, String signature) {
        return () -> inputs.optInt(name);
    }

    public Tensor getOutputTensorFromSignature(String name, String signature) {
        return () -> outputs.optInt(name);
    }

    public void runSignature(Map<String, Object> inputs, Map<String, Object> outputs, String signature) {
        try {
            List<byte[]> parts = new ArrayList<>();
            for (Object value : inputs.values()) parts.add(bytes((ByteBuffer) value));
            JSONObject question = new JSONObject().put("run", model).put("signature", signature);
            question.put("given", new JSONArray(inputs.keySet())).put("wanted", new JSONArray(outputs.keySet()));
            JSONArray sizes = server.ask(question, parts).getJSONArray("sizes");
            int place = 0;
            for (Object value : outputs.values()) {
                ((ByteBuffer) value).put(server.answers.readNBytes(sizes.getInt(place++)));
            }
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        } catch (JSONException error) {
            throw new IllegalStateException(error);
        }
    }

    @Override
    public void close() {}

    private static byte[] bytes(ByteBuffer buffer) {
        if (!buffer.isDirect()) throw new IllegalArgumentException("LiteRT takes direct buffers alone");
        byte[] bytes = new byte[buffer.remaining()];
        buffer.duplicate().get(bytes);
        return bytes;
    }

    private static String[] names(JSONObject tensors) {
        String[] names = new String[tensors.length()];
        for (int n = 0; n < names.length; n++) names[n] = tensors.names().optString(n);
        return names;
    }
}
