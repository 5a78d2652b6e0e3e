import Foundation

/// What the generator says of a bundle, read from `spec.json` beside models and golden tensors.
public struct Spec: Decodable {
    /// Identity of everything that was generated; each result repeats it.
    public let id: String
    /// Untimed and timed runs of each step.
    public let warmup: Int
    public let runs: Int
    /// The pipeline's inputs.
    public let inputs: [String]
    /// The models that an app runs, in their order: the end-to-end one, or all stages.
    public let served: [String]
    /// The models that do the work one after the other, in their order.
    public let stages: [String]
    public let graphs: [String: GraphSpec]
    public let variants: [Variant]
    public let goldens: [Golden]

    public static func read(_ folder: URL) throws -> Spec {
        let data = try Data(contentsOf: folder.appendingPathComponent("spec.json"))
        return try JSONDecoder().decode(Spec.self, from: data)
    }
}

/// Inputs and outputs of a graph.
public struct GraphSpec: Decodable {
    public let inputs: [TensorSpec]
    public let outputs: [TensorSpec]
}

/// A tensor as the Core ML package has it: bytes of a picture [height, width, 1 or 3], or numbers, maps channels second.
public struct TensorSpec: Decodable {
    public let name: String
    public let shape: [Int]
    public let kind: Kind

    public enum Kind: String, Decodable {
        case image, float32, int32
    }
}

/// One precision. `limits` are the largest errors of the gated tensors, in their own units.
public struct Variant: Decodable {
    public let name: String
    public let limits: [String: Double]
    public let models: [String: String]
}

/// A golden input: files with the float tensors of every stage.
public struct Golden: Decodable {
    public let name: String
    public let vectors: [String: String]
}

/// Something that cannot be measured, and why.
public struct PipelineError: Error, CustomStringConvertible {
    public let description: String

    public init(_ description: String) {
        self.description = description
    }
}
