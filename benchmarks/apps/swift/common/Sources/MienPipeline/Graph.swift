import CoreML
import Foundation

/// One graph of a bundle, loaded for a choice of compute units.
public final class Graph {
    private let model: MLModel
    private let spec: GraphSpec

    /// Load a compiled model.
    public init(compiled: URL, spec: GraphSpec, units: MLComputeUnits) throws {
        let configuration = MLModelConfiguration()
        configuration.computeUnits = units
        model = try MLModel(contentsOf: compiled, configuration: configuration)
        self.spec = spec
    }

    /// Gather the graph's inputs from the tensors that are known.
    public func inputs(_ known: [String: Value]) throws -> MLFeatureProvider {
        var features = [String: MLFeatureValue]()
        for tensor in spec.inputs {
            guard let value = known[tensor.name] else {
                throw PipelineError("the tensor \(tensor.name) is not known")
            }
            features[tensor.name] = try value.feature()
        }
        return try MLDictionaryFeatureProvider(dictionary: features)
    }

    /// Run the model once.
    public func predict(_ inputs: MLFeatureProvider) throws -> MLFeatureProvider {
        try model.prediction(from: inputs)
    }

    /// Run the model on known tensors and read all it gives.
    public func run(_ known: [String: Value]) throws -> [String: Value] {
        let found = try predict(inputs(known))
        var outputs = [String: Value]()
        for tensor in spec.outputs {
            guard let array = found.featureValue(for: tensor.name)?.multiArrayValue else {
                throw PipelineError("the model gave no array \(tensor.name)")
            }
            let value = try Value(array)
            guard value.numbers.count == tensor.shape.reduce(1, *) else {
                throw PipelineError("\(tensor.name) has \(value.numbers.count) numbers, not \(tensor.shape)")
            }
            outputs[tensor.name] = value
        }
        return outputs
    }
}

/// The graphs of one variant on one choice of compute units.
public final class Appraiser {
    public let graphs: [String: Graph]
    private let whole: String
    private let stages: [String]

    /// Load models that were compiled before.
    public init(_ spec: Spec, compiled: [String: URL], units: MLComputeUnits) throws {
        var loaded = [String: Graph]()
        for (name, graph) in spec.graphs {
            guard let model = compiled[name] else { throw PipelineError("there is no model \(name)") }
            loaded[name] = try Graph(compiled: model, spec: graph, units: units)
        }
        graphs = loaded
        whole = spec.whole
        stages = spec.stages
    }

    /// Find a graph.
    public func graph(_ name: String) throws -> Graph {
        guard let graph = graphs[name] else { throw PipelineError("there is no graph \(name)") }
        return graph
    }

    /// Run the end-to-end model on the pipeline's inputs.
    public func rate(_ inputs: [String: Value]) throws -> [String: Value] {
        try graph(whole).run(inputs)
    }

    /// Run the stages from `first` on, each fed by those before it; returns all that is known then.
    public func finish(from first: Int, _ known: [String: Value]) throws -> [String: Value] {
        var tensors = known
        for stage in stages[first...] {
            tensors.merge(try graph(stage).run(tensors)) { $1 }
        }
        return tensors
    }
}
