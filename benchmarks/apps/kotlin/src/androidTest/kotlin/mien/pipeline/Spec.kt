package mien.pipeline

import android.content.res.AssetManager
import java.nio.ByteBuffer
import java.nio.ByteOrder
import org.json.JSONArray
import org.json.JSONObject

/** One precision: the asset of each model by the model's name, and the largest error of each gated tensor. */
class Variant(val name: String, val models: Map<String, String>, val limits: Map<String, Double>)

/** A golden input: assets with the float pipeline's tensors by name. */
class Golden(val name: String, val tensors: Map<String, String>)

/** A model of the pipeline by the names of its tensors. */
class Stage(val name: String, val inputs: List<String>, val outputs: List<String>)

/** What the generator says of a bundle, read from the asset `mien/spec.json`. */
class Spec(private val assets: AssetManager) {
    private val json = JSONObject(String(bytes("mien/spec.json")))

    /** Identity of everything that was generated; each result repeats it. */
    val id: String = json.getString("id")

    /** Untimed and timed runs. */
    val warmup = json.getInt("warmup")
    val runs = json.getInt("runs")

    /** The tensors that go in, and the types of those that come out, as numpy names them. */
    val inputs = strings(json.getJSONArray("inputs"))
    val outputs = texts(json.getJSONObject("outputs"))
    val stages =
        objects(json.getJSONArray("stages")).map {
            Stage(it.getString("name"), strings(it.getJSONArray("inputs")), strings(it.getJSONArray("outputs")))
        }
    val variants =
        objects(json.getJSONArray("variants")).map { variant ->
            val limits = variant.getJSONObject("limits")
            Variant(
                variant.getString("name"),
                texts(variant.getJSONObject("models")),
                names(limits).associateWith { limits.getDouble(it) },
            )
        }
    val goldens =
        objects(json.getJSONArray("goldens")).map {
            Golden(it.getString("name"), texts(it.getJSONObject("tensors")))
        }

    fun models(variant: Variant) =
        stages.map { Model(it.name, it.inputs, it.outputs, direct(variant.models.getValue(it.name))) }

    fun inputs(golden: Golden) = inputs.associateWith { direct(golden.tensors.getValue(it)) }

    /** Read a float tensor of a golden input as numbers. */
    fun expected(golden: Golden, name: String) = numbers(name, direct(golden.tensors.getValue(name)))

    /** Read a tensor as numbers, by its type. */
    fun numbers(name: String, buffer: ByteBuffer): DoubleArray {
        val type = outputs.getValue(name)
        val size = if (type == "uint8") 1 else Int.SIZE_BYTES
        return DoubleArray(buffer.capacity() / size) {
            when (type) {
                "float32" -> buffer.getFloat(it * size).toDouble()
                "int32" -> buffer.getInt(it * size).toDouble()
                "uint8" -> (buffer.get(it).toInt() and 0xff).toDouble()
                else -> throw IllegalArgumentException("$name is $type, which is not read here")
            }
        }
    }

    private fun bytes(asset: String): ByteArray = assets.open(asset).use { it.readBytes() }

    /** Read an asset into memory that LiteRT takes; numbers in assets are little-endian, as phones are. */
    private fun direct(asset: String): ByteBuffer {
        val bytes = bytes(asset)
        val buffer = ByteBuffer.allocateDirect(bytes.size).order(ByteOrder.nativeOrder())
        buffer.put(bytes).rewind()
        return buffer
    }

    private fun objects(array: JSONArray) = List(array.length()) { array.getJSONObject(it) }

    private fun strings(array: JSONArray) = List(array.length()) { array.getString(it) }

    private fun names(values: JSONObject) = values.keys().asSequence().toList()

    private fun texts(values: JSONObject) = names(values).associateWith { values.getString(it) }
}
