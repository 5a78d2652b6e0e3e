package mien.appraisal

import java.io.Closeable
import java.nio.ByteBuffer
import java.nio.ByteOrder
import org.tensorflow.lite.Interpreter
import org.tensorflow.lite.gpu.CompatibilityList
import org.tensorflow.lite.gpu.GpuDelegate

/** What computes. */
enum class ComputeUnit {
    CPU,
    GPU;

    /** Whether this phone has it, by LiteRT's list of GPUs that are known to work. */
    fun isAvailable(): Boolean =
        this == CPU || CompatibilityList().use { it.isDelegateSupportedOnThisDevice }
}

/** The names of a model's tensors, as the bundle's `manifest.json` has them. */
class Tensors(val input: String, val rating: String, val map: String)

/** The rating of a picture, such as a score of 0 to 100, and the values of the map, row by row. */
class Appraisal(val rating: Float, val map: FloatArray)

/**
 * The end-to-end model of a bundle on one unit. It is not safe for several threads, and a GPU's must be used on the
 * thread that made it.
 *
 * @param model the bytes of the .tflite file, in a direct buffer
 * @param tensors what goes in and comes out
 * @throws IllegalArgumentException LiteRT cannot load the model, or the unit refuses its graph
 */
class Appraiser(model: ByteBuffer, private val tensors: Tensors, unit: ComputeUnit, threads: Int = 1) : Closeable {
    private val gpu = if (unit == ComputeUnit.GPU) GpuDelegate() else null
    private val interpreter = load(model, threads)
    private val input = room(tensors.input)
    private val outputs = setOf(tensors.rating, tensors.map).associateWith { room(it) }

    /**
     * Rate a picture of the model's size: RGB, 3 bytes a pixel, row by row.
     *
     * @throws IllegalArgumentException there are more bytes or fewer
     */
    fun rate(pixels: ByteArray): Appraisal {
        require(pixels.size == input.capacity()) { "a picture has ${input.capacity()} bytes, got ${pixels.size}" }
        for (buffer in outputs.values + input) buffer.rewind()
        input.put(pixels).rewind()
        interpreter.runSignature(mapOf(tensors.input to input), outputs, SIGNATURE)
        return Appraisal(floats(tensors.rating)[0], floats(tensors.map))
    }

    override fun close() {
        interpreter.close()
        gpu?.close()
    }

    private fun load(model: ByteBuffer, threads: Int): Interpreter {
        val options = Interpreter.Options().setNumThreads(threads)
        gpu?.let { options.addDelegate(it) }
        try {
            return Interpreter(model, options)
        } catch (error: IllegalArgumentException) {
            gpu?.close()
            throw error
        }
    }

    /** Memory for a tensor, found by its name in the signature and not by its number. */
    private fun room(name: String): ByteBuffer {
        val tensor =
            if (name in interpreter.getSignatureInputs(SIGNATURE)) {
                interpreter.getInputTensorFromSignature(name, SIGNATURE)
            } else {
                interpreter.getOutputTensorFromSignature(name, SIGNATURE)
            }
        return ByteBuffer.allocateDirect(tensor.numBytes()).order(ByteOrder.nativeOrder())
    }

    private fun floats(name: String): FloatArray {
        val buffer = outputs.getValue(name)
        buffer.rewind()
        return FloatArray(buffer.capacity() / Float.SIZE_BYTES).also { buffer.asFloatBuffer().get(it) }
    }

    private companion object {
        const val SIGNATURE = "serving_default"
    }
}
