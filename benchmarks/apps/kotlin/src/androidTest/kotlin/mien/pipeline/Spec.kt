package mien.pipeline

import android.content.res.AssetManager
import android.graphics.BitmapFactory
import java.nio.ByteBuffer
import org.json.JSONArray
import org.json.JSONObject

/** What is measured: a variant of the bundle, and the largest error of each gated tensor. */
class Measured(val variant: Variant, val limits: Map<String, Double>)

/** A golden input: assets with the float pipeline's tensors by name, and the photograph that they are of, if any. */
class Golden(val name: String, val tensors: Map<String, String>, val photograph: String?)

/** The bundle in the app's assets, and what the generator says of it in the asset `mien/spec.json`. */
class Spec(private val assets: AssetManager) {
    private val json = JSONObject(String(bytes("spec.json")))

    val bundle = Bundle { assets.open("$ROOM/$it") }

    /** Identity of everything that was generated; each result repeats it. */
    val id: String = json.getString("id")

    /** Untimed and timed runs. */
    val warmup = json.getInt("warmup")
    val runs = json.getInt("runs")

    val outputs = bundle.served.flatMap { it.outputs }
    val measured =
        objects(json.getJSONArray("variants")).map { variant ->
            val limits = variant.getJSONObject("limits")
            Measured(bundle.variant(variant.getString("name")), names(limits).associateWith { limits.getDouble(it) })
        }
    val goldens =
        objects(json.getJSONArray("goldens")).map { golden ->
            val tensors = golden.getJSONObject("tensors")
            Golden(
                golden.getString("name"),
                names(tensors).associateWith { tensors.getString(it) },
                if (golden.isNull("photograph")) null else golden.getString("photograph"),
            )
        }

    fun inputs(golden: Golden) = bundle.inputs.associateWith { direct(golden.tensors.getValue(it)) }

    fun photograph(file: String): Photograph =
        Photograph.of(assets.open("$ROOM/$file").use { BitmapFactory.decodeStream(it) })

    /** Read a float tensor of a golden input as numbers. */
    fun expected(golden: Golden, name: String) = bundle.tensor(name).numbers(direct(golden.tensors.getValue(name)))

    private fun bytes(file: String): ByteArray = assets.open("$ROOM/$file").use { it.readBytes() }

    /** Read an asset into memory that LiteRT takes; numbers in assets are little-endian, as phones are. */
    private fun direct(file: String): ByteBuffer {
        val bytes = bytes(file)
        val buffer = room(bytes.size)
        buffer.put(bytes).rewind()
        return buffer
    }

    private fun objects(array: JSONArray) = List(array.length()) { array.getJSONObject(it) }

    private fun names(values: JSONObject) = values.keys().asSequence().map { it.toString() }.toList()

    private companion object {
        const val ROOM = "mien"
    }
}
