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
            guard value.numbers.count == tensor.count else {
                throw PipelineError("\(tensor.name) has \(value.numbers.count) numbers, not \(tensor.shape)")
            }
            outputs[tensor.name] = value
        }
        return outputs
    }
}
