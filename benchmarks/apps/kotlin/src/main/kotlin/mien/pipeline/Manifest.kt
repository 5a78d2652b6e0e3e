package mien.pipeline

import java.io.InputStream
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.security.MessageDigest
import org.json.JSONArray
import org.json.JSONException
import org.json.JSONObject

/** A bundle is damaged, of another format, or its models make what they must not; export it again. */
class BundleException(message: String) : Exception(message)

/**
 * A tensor of a pipeline.
 *
 * @param type as numpy names it: uint8, int32 or float32
 * @param range its least and its greatest value, where they are declared
 */
class Tensor(val name: String, val shape: List<Int>, val type: String, val range: ClosedRange<Double>?) {
    private val bytesEach = if (type == "uint8") 1 else Int.SIZE_BYTES
    val bytes = shape.fold(bytesEach) { product, side -> product * side }

    /**
     * Read the values, in their order.
     *
     * @throws BundleException the bytes are more or fewer, or the type is not known
     */
    fun numbers(buffer: ByteBuffer): DoubleArray {
        if (buffer.capacity() != bytes) throw BundleException("$name has ${buffer.capacity()} bytes, expected $bytes")
        return DoubleArray(bytes / bytesEach) {
            when (type) {
                "float32" -> buffer.getFloat(it * bytesEach).toDouble()
                "int32" -> buffer.getInt(it * bytesEach).toDouble()
                "uint8" -> (buffer.get(it).toInt() and 0xff).toDouble()
                else -> throw BundleException("$name is $type, which is not read here")
            }
        }
    }

    /** Make the tensor of values, which are as many as it has. */
    fun of(numbers: DoubleArray): ByteBuffer {
        val buffer = room(bytes)
        for (number in numbers) {
            when (type) {
                "float32" -> buffer.putFloat(number.toFloat())
                "int32" -> buffer.putInt(number.toInt())
                "uint8" -> buffer.put(number.toInt().toByte())
                else -> throw BundleException("$name is $type, which is not made here")
            }
        }
        buffer.rewind()
        return buffer
    }

    /**
     * Refuse values that are not finite or outside of the range.
     *
     * @throws BundleException with the first such value
     */
    fun check(buffer: ByteBuffer) {
        val odd = numbers(buffer).find { it.isNaN() || it.isInfinite() || (range != null && it !in range) } ?: return
        throw BundleException("$name has the value $odd, outside of ${range ?: "what is finite"}; export the bundle again")
    }
}

/** What an output of a stage is that need not run: a number everywhere, or the values of another tensor. */
sealed interface Known {
    class Number(val value: Double) : Known

    class Copy(val tensor: String) : Known
}

/** A stage need not run where every value of the tensor `zero` is 0; its outputs are then known. */
class SkipWhen(val zero: String, val outputs: Map<String, Known>)

/** A model by the names of the tensors that it reads and makes. */
class Stage(val name: String, val inputs: List<String>, val outputs: List<String>, val skipWhen: SkipWhen?)

/** What makes inputs of a photograph: its kind, its models, and the rule as the manifest has it. */
class Front(val kind: String, val outputs: List<String>, val models: List<Stage>, val rule: JSONObject)

/**
 * One precision of all models.
 *
 * @param files the path of each model by its name
 * @param earlyExit whether stages may be left out: the export found the same bits without them
 */
class Variant(val name: String, val platform: String, val files: Map<String, String>, val earlyExit: Boolean)

/**
 * A bundle by its manifest.
 *
 * @param open opens a file of the bundle by its path in it, such as an asset
 * @throws BundleException the manifest is not JSON, of another format, or has a key that is not known
 * @throws JSONException the manifest lacks a key that is read here
 */
class Bundle(private val open: (String) -> InputStream) {
    private val json = parse(String(read(MANIFEST)))
    private val tensors = objects(json.getJSONArray("tensors")).map { tensor(it) }.associateBy { it.name }
    private val listed = json.getJSONObject("files")

    val front = json.optJSONObject("front")?.let { front(it) }
    val stages = objects(json.getJSONArray("stages")).map { stage(it) }
    val whole = json.optJSONObject("whole")?.let { stage(it) }
    val variants = objects(json.getJSONArray("variants")).map { variant(it) }

    /** What an app rates by, null where it rates everything. */
    val refusals: JSONObject? = json.optJSONObject("refusals")

    /** The models that an app runs from the inputs to the result: the end-to-end one, or the stages. */
    val served = whole?.let { listOf(it) } ?: stages

    /** The tensors that no stage makes. */
    val inputs = stages.flatMap { it.inputs }.distinct() - stages.flatMap { it.outputs }.toSet()

    fun tensor(name: String) = tensors[name] ?: throw BundleException("there is no tensor $name")

    fun variant(name: String) =
        variants.find { it.name == name }
            ?: throw BundleException("there is no variant $name, but ${variants.joinToString { it.name }}")

    /**
     * Read a file into memory that LiteRT takes.
     *
     * @throws BundleException it leaves the bundle, is not listed, or has another size or SHA-256 than the manifest says
     */
    fun file(path: String): ByteBuffer {
        if (path.startsWith("/") || ".." in path.split("/")) throw BundleException("$path leaves the bundle")
        val entry = listed.optJSONObject(path) ?: throw BundleException("$path is not a file of the bundle")
        val bytes = read(path)
        val hash = MessageDigest.getInstance("SHA-256").digest(bytes).joinToString("") { "%02x".format(it) }
        if (bytes.size != entry.getInt("bytes") || hash != entry.getString("sha256")) {
            throw BundleException("$path is not the file that was exported; copy the bundle again")
        }
        val buffer = room(bytes.size)
        buffer.put(bytes).rewind()
        return buffer
    }

    private fun read(path: String) = open(path).use { it.readBytes() }

    private fun parse(text: String): JSONObject {
        val found =
            try {
                JSONObject(text)
            } catch (error: JSONException) {
                throw BundleException("$MANIFEST is not JSON: ${error.message}")
            }
        val format = found.opt("format")
        if (format != FORMAT) throw BundleException("$MANIFEST has format $format, expected $FORMAT; export again")
        refuseUnknownKeys(found)
        found.optJSONObject("front")?.let { refuseUnknownKeys(it.opt("rule"), it.optString("kind")) }
        return found
    }

    private fun tensor(json: JSONObject): Tensor {
        val range = json.optJSONArray("range")?.let { it.getDouble(0)..it.getDouble(1) }
        val shape = json.getJSONArray("shape")
        return Tensor(json.getString("name"), List(shape.length()) { shape.getInt(it) }, json.getString("dtype"), range)
    }

    private fun stage(json: JSONObject): Stage {
        val skip = json.optJSONObject("skip_when")?.let { SkipWhen(it.getString("zero"), known(it)) }
        return Stage(json.getString("name"), strings(json, "inputs"), strings(json, "outputs"), skip)
    }

    private fun known(skip: JSONObject): Map<String, Known> {
        val outputs = skip.getJSONObject("outputs")
        return names(outputs).associateWith {
            val value = outputs.get(it)
            if (value is String) Known.Copy(value) else Known.Number(outputs.getDouble(it))
        }
    }

    private fun front(json: JSONObject) =
        Front(
            json.getString("kind"),
            strings(json, "outputs"),
            objects(json.getJSONArray("models")).map { stage(it) },
            json.getJSONObject("rule"),
        )

    private fun variant(json: JSONObject): Variant {
        val files = json.getJSONObject("files")
        val paths = names(files).associateWith { files.getString(it) }
        return Variant(json.getString("name"), json.getString("platform"), paths, json.optJSONObject("early_exit") != null)
    }

    private fun objects(array: JSONArray) = List(array.length()) { array.getJSONObject(it) }

    private fun strings(json: JSONObject, key: String) =
        json.getJSONArray(key).let { array -> List(array.length()) { array.getString(it) } }

    private fun names(json: JSONObject) = json.keys().asSequence().map { it.toString() }.toList()

    private companion object {
        const val MANIFEST = "manifest.json"
        const val FORMAT = 2
    }
}

/** Memory of so many bytes that LiteRT takes. */
internal fun room(bytes: Int): ByteBuffer = ByteBuffer.allocateDirect(bytes).order(ByteOrder.nativeOrder())
