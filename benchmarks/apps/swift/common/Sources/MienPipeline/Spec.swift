import Foundation

/// What the generator says of a bundle, read from `spec.json` beside models and golden tensors.
public struct Spec: Decodable {
    /// Identity of everything that was generated; each result repeats it.
    public let id: String
    /// Untimed and timed runs of each step.
    public let warmup: Int
    public let runs: Int
    /// The tensor by which variants are compared.
    public let rating: String
    /// The end-to-end model.
    public let whole: String
    /// The models that do its work one after the other, in the order of the data.
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

/// A tensor as the Core ML package has it: RGB bytes [height, width, 3], or float32 channels second.
public struct TensorSpec: Decodable {
    public let name: String
    public let shape: [Int]
    public let image: Bool
}

/// One precision. `gate` is the largest error of the rating allowed, in its own units.
public struct Variant: Decodable {
    public let name: String
    public let gate: Double
    public let models: [String: String]
}

/// A golden input: its float rating, and files with the float tensors of every stage.
public struct Golden: Decodable {
    public let name: String
    public let rating: Double
    public let vectors: [String: String]
}

/// Something that cannot be measured, and why.
public struct PipelineError: Error, CustomStringConvertible {
    public let description: String

    public init(_ description: String) {
        self.description = description
    }
}
