package mien.appraisal

import android.content.res.AssetManager
import java.nio.ByteBuffer
import java.nio.ByteOrder
import org.json.JSONArray
import org.json.JSONObject

/** One precision; `gate` is the largest error of the rating allowed, in its own units. */
class Variant(val name: String, val gate: Double, val model: String)

/** A golden input with the float pipeline's rating; `input` and `map` are assets. */
class Golden(val name: String, val rating: Double, val input: String, val map: String)

/** What the generator says of a bundle, read from the asset `mien/spec.json`. */
class Spec(private val assets: AssetManager) {
    private val json = JSONObject(String(bytes("mien/spec.json")))

    /** Identity of everything that was generated; each result repeats it. */
    val id: String = json.getString("id")

    /** Untimed and timed runs. */
    val warmup = json.getInt("warmup")
    val runs = json.getInt("runs")
    val tensors =
        json.getJSONObject("tensors").let {
            Tensors(it.getString("input"), it.getString("rating"), it.getString("map"))
        }
    val variants =
        objects(json.getJSONArray("variants")).map {
            Variant(it.getString("name"), it.getDouble("gate"), it.getString("model"))
        }
    val goldens =
        objects(json.getJSONArray("goldens")).map {
            Golden(it.getString("name"), it.getDouble("rating"), it.getString("input"), it.getString("map"))
        }

    fun bytes(asset: String): ByteArray = assets.open(asset).use { it.readBytes() }

    /** Read an asset into memory that LiteRT takes. */
    fun direct(asset: String): ByteBuffer {
        val bytes = bytes(asset)
        val buffer = ByteBuffer.allocateDirect(bytes.size).order(ByteOrder.nativeOrder())
        buffer.put(bytes).rewind()
        return buffer
    }

    /** Read float32 numbers, little-endian. */
    fun floats(asset: String): FloatArray {
        val buffer = ByteBuffer.wrap(bytes(asset)).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer()
        return FloatArray(buffer.remaining()).also { buffer.get(it) }
    }

    private fun objects(array: JSONArray) = List(array.length()) { array.getJSONObject(it) }
}
