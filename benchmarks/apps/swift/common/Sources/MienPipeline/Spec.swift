import Foundation

/// What the generator says of a bundle, read from `spec.json` beside it.
public struct Spec: Decodable {
    /// Identity of everything that was generated; each result repeats it.
    public let id: String
    /// Untimed and timed runs of each step.
    public let warmup: Int
    public let runs: Int
    public let variants: [Measured]
    public let goldens: [Golden]

    public static func read(_ folder: URL) throws -> Spec {
        let data = try Data(contentsOf: folder.appendingPathComponent("spec.json"))
        return try JSONDecoder().decode(Spec.self, from: data)
    }
}

/// A variant to be measured. `limits` are the largest errors of the gated tensors, in their own units.
public struct Measured: Decodable {
    public let name: String
    public let limits: [String: Double]
}

/// A golden input: files with the float tensors of every stage, and the photograph that they are of, if any.
public struct Golden: Decodable {
    public let name: String
    public let vectors: [String: String]
    public let photograph: String?
}
