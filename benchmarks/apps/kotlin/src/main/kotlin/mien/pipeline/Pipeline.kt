package mien.pipeline

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

/**
 * A model of a bundle with the tensors that it reads and makes, as `stages` in the bundle's `manifest.json` names them.
 *
 * @param file the bytes of the .tflite file, in a direct buffer
 */
class Model(val name: String, val inputs: List<String>, val outputs: List<String>, val file: ByteBuffer)

/**
 * One model on one unit. It is not safe for several threads, and a GPU's must be used on the thread that made it.
 *
 * @throws IllegalArgumentException LiteRT cannot load the model, or the unit refuses its graph
 */
class Graph(val model: Model, unit: ComputeUnit, threads: Int) : Closeable {
    private val gpu = if (unit == ComputeUnit.GPU) GpuDelegate() else null
    private val interpreter = load(threads)
    private val inputs = model.inputs.associateWith { room(it, interpreter.getSignatureInputs(SIGNATURE)) }
    private val outputs = model.outputs.associateWith { room(it, interpreter.getSignatureOutputs(SIGNATURE)) }

    /**
     * Run the model on those of the `known` tensors that it reads.
     *
     * @return the tensors that it makes, by name; the next run overwrites them
     * @throws IllegalArgumentException a tensor that it reads is not known, or has more bytes or fewer
     */
    fun run(known: Map<String, ByteBuffer>): Map<String, ByteBuffer> {
        for ((name, buffer) in inputs) fill(name, buffer, known)
        for (buffer in outputs.values) buffer.rewind()
        interpreter.runSignature(inputs, outputs, SIGNATURE)
        return outputs
    }

    override fun close() {
        interpreter.close()
        gpu?.close()
    }

    private fun fill(name: String, buffer: ByteBuffer, known: Map<String, ByteBuffer>) {
        val value = requireNotNull(known[name]) { "${model.name} reads $name, which is not known" }.duplicate()
        require(value.capacity() == buffer.capacity()) {
            "$name has ${buffer.capacity()} bytes in ${model.name}, got ${value.capacity()}"
        }
        value.rewind()
        buffer.rewind()
        buffer.put(value).rewind()
    }

    private fun load(threads: Int): Interpreter {
        val options = Interpreter.Options().setNumThreads(threads)
        gpu?.let { options.addDelegate(it) }
        try {
            return Interpreter(model.file, options)
        } catch (error: IllegalArgumentException) {
            gpu?.close()
            throw error
        }
    }

    /** Memory for a tensor, found by its name in the signature and not by its number or size. */
    private fun room(name: String, names: Array<String>): ByteBuffer {
        require(name in names) { "${model.name} has no tensor $name, it has ${names.joinToString()}" }
        val tensor =
            if (name in model.inputs) {
                interpreter.getInputTensorFromSignature(name, SIGNATURE)
            } else {
                interpreter.getOutputTensorFromSignature(name, SIGNATURE)
            }
        return ByteBuffer.allocateDirect(tensor.numBytes()).order(ByteOrder.nativeOrder())
    }

    private companion object {
        const val SIGNATURE = "serving_default"
    }
}

/**
 * The models of a bundle in the order of its `stages`, each fed by those before it.
 *
 * @throws IllegalArgumentException LiteRT cannot load a model, or the unit refuses its graph
 */
class Pipeline(models: List<Model>, unit: ComputeUnit, threads: Int = 1) : Closeable {
    /** The loaded models. */
    val graphs: List<Graph> = open(models, unit, threads)

    /**
     * Run every model.
     *
     * @param inputs the pipeline's inputs by name, each with the bytes of a tensor: pictures row by row, channels last
     * @return all tensors by name; the next run overwrites them
     * @throws IllegalArgumentException an input is missing, or has more bytes or fewer
     */
    fun run(inputs: Map<String, ByteBuffer>): Map<String, ByteBuffer> {
        val known = inputs.toMutableMap()
        for (graph in graphs) known += graph.run(known)
        return known
    }

    override fun close() = graphs.forEach { it.close() }

    private fun open(models: List<Model>, unit: ComputeUnit, threads: Int): List<Graph> {
        val opened = mutableListOf<Graph>()
        try {
            for (model in models) opened += Graph(model, unit, threads)
        } catch (error: IllegalArgumentException) {
            opened.forEach { it.close() }
            throw error
        }
        return opened
    }
}
