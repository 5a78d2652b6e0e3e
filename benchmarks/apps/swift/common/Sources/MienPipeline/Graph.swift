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

    /// Run the model once on those of the known features that it reads; returns what it makes, by name.
    public func predict(_ known: [String: MLFeatureValue]) throws -> [String: MLFeatureValue] {
        var inputs = [String: MLFeatureValue]()
        for tensor in spec.inputs {
            guard let value = known[tensor.name] else {
                throw PipelineError("the tensor \(tensor.name) is not known")
            }
            inputs[tensor.name] = value
        }
        let found = try model.prediction(from: MLDictionaryFeatureProvider(dictionary: inputs))
        var outputs = [String: MLFeatureValue]()
        for tensor in spec.outputs {
            guard let value = found.featureValue(for: tensor.name) else {
                throw PipelineError("the model gave no tensor \(tensor.name)")
            }
            outputs[tensor.name] = value
        }
        return outputs
    }

    /// Read what the model gave, shaped as the package says.
    public func read(_ found: [String: MLFeatureValue]) throws -> [String: Value] {
        var outputs = [String: Value]()
        for tensor in spec.outputs {
            guard let array = found[tensor.name]?.multiArrayValue else {
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
public final class Pipeline {
    public let graphs: [String: Graph]
    private let served: [String]

    /// Load models that were compiled before.
    public init(_ spec: Spec, compiled: [String: URL], units: MLComputeUnits) throws {
        var loaded = [String: Graph]()
        for (name, graph) in spec.graphs {
            guard let model = compiled[name] else { throw PipelineError("there is no model \(name)") }
            loaded[name] = try Graph(compiled: model, spec: graph, units: units)
        }
        graphs = loaded
        served = spec.served
    }

    /// Find a graph.
    public func graph(_ name: String) throws -> Graph {
        guard let graph = graphs[name] else { throw PipelineError("there is no graph \(name)") }
        return graph
    }

    /// Run what an app runs on the pipeline's inputs, each model fed by those before it; returns all outputs.
    public func run(_ inputs: [String: MLFeatureValue]) throws -> [String: Value] {
        try run(served[...], inputs)
    }

    /// Run graphs in a row, each fed by those before it; returns all that they make.
    public func run(_ names: ArraySlice<String>, _ known: [String: MLFeatureValue]) throws -> [String: Value] {
        var features = known
        var outputs = [String: Value]()
        for name in names {
            let found = try graph(name).predict(features)
            features.merge(found) { $1 }
            outputs.merge(try graph(name).read(found)) { $1 }
        }
        return outputs
    }
}
