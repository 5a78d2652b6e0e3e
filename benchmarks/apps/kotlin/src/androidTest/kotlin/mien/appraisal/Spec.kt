package mien.appraisal

import android.content.res.AssetManager
import java.nio.ByteBuffer
import java.nio.ByteOrder
import org.json.JSONArray
import org.json.JSONObject

/** One precision; `gate` is the largest score error allowed, in points of 100. */
class Variant(val name: String, val gate: Double, val model: String)

/** A golden face with the float pipeline's score; `face` and `heatmap` are assets. */
class Golden(val name: String, val score: Double, val face: String, val heatmap: String)

/** What the generator says of a bundle, read from the asset `mien/spec.json`. */
class Spec(private val assets: AssetManager) {
    private val json = JSONObject(String(bytes("mien/spec.json")))

    /** Identity of everything that was generated; each result repeats it. */
    val id: String = json.getString("id")

    /** Untimed and timed runs. */
    val warmup = json.getInt("warmup")
    val runs = json.getInt("runs")
    val variants =
        objects(json.getJSONArray("variants")).map {
            Variant(it.getString("name"), it.getDouble("gate"), it.getString("model"))
        }
    val goldens =
        objects(json.getJSONArray("goldens")).map {
            Golden(it.getString("name"), it.getDouble("score"), it.getString("face"), it.getString("heatmap"))
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
