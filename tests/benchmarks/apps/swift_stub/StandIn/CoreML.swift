// A stand-in for the part of Core ML that the Swift package uses. A model hands its tensors to mien's evaluator in
// another process; it computes nothing and is no evidence of what Apple's runtime does.
import Foundation

public enum MLComputeUnits: Int { case cpuOnly, cpuAndGPU, all, cpuAndNeuralEngine }

public final class MLModelConfiguration {
    public var computeUnits = MLComputeUnits.all
    public init() {}
}

public enum MLMultiArrayDataType: Int { case float32 = 65568, float16 = 65552, int32 = 131104 }

public final class MLMultiArray {
    public let dataType: MLMultiArrayDataType
    public let shape, strides: [NSNumber]
    public let dataPointer: UnsafeMutableRawPointer
    var count: Int { shape.reduce(1) { $0 * $1.intValue } }

    public convenience init(shape: [NSNumber], dataType: MLMultiArrayDataType) throws {
        self.init(shape, dataType, padding: 0)
    }

    /// Rows are padded by `padding` numbers, as those of accelerators are.
    init(_ shape: [NSNumber], _ dataType: MLMultiArrayDataType, padding: Int) {
        var strides = [Int](repeating: 1, count: shape.count), size = 1
        for axis in shape.indices.reversed() {
            strides[axis] = size
            size *= shape[axis].intValue
            if axis == shape.count - 1 && shape.count > 1 { size += padding }
        }
        (self.shape, self.dataType) = (shape, dataType)
        self.strides = strides.map { NSNumber(value: $0) }
        dataPointer = .allocate(byteCount: max(size, 1) * 4, alignment: 64)
    }

    deinit { dataPointer.deallocate() }

    /// The numbers without what pads their rows.
    var data: Data {
        let width = shape.last?.intValue ?? 1
        let stride = shape.count > 1 ? strides[shape.count - 2].intValue : width
        return Data((0..<count / width).map { Data(bytes: dataPointer + $0 * stride * 4, count: width * 4) }.joined())
    }

    /// An array with padded rows, of what a model made.
    convenience init(_ shape: [Int], _ dataType: MLMultiArrayDataType, _ data: Data) {
        self.init(shape.map { NSNumber(value: $0) }, dataType, padding: 8)
        let width = shape.last ?? 1, stride = shape.count > 1 ? width + 8 : width
        for row in 0..<data.count / 4 / width {
            let line = dataPointer.advanced(by: row * stride * 4).assumingMemoryBound(to: UInt8.self)
            data.copyBytes(to: line, from: row * width * 4..<(row + 1) * width * 4)
        }
    }
}

public final class MLFeatureValue {
    public let multiArrayValue: MLMultiArray?
    public let imageBufferValue: CVPixelBuffer?
    public init(multiArray: MLMultiArray) { (multiArrayValue, imageBufferValue) = (multiArray, nil) }
    public init(pixelBuffer: CVPixelBuffer) { (multiArrayValue, imageBufferValue) = (nil, pixelBuffer) }

    /// What the bytes are, and the bytes: pixels row by row without what pads them, or numbers.
    var asked: ([String: Any], Data) {
        if let buffer = imageBufferValue {
            let width = buffer.width * buffer.bytesPerPixel
            let rows = (0..<buffer.height).map { Data(bytes: buffer.base + $0 * buffer.stride, count: width) }
            let form = buffer.bytesPerPixel == 4 ? "bgra" : "grey"
            return (["form": form, "shape": [buffer.height, buffer.width]], Data(rows.joined()))
        }
        let array = multiArrayValue!
        let form = array.dataType == .int32 ? "int32" : "float32"
        let shape = array.shape.map { $0.intValue }
        return (["form": form, "shape": shape], array.data)
    }
}

public protocol MLFeatureProvider {
    var featureNames: Set<String> { get }
    func featureValue(for name: String) -> MLFeatureValue?
}

public final class MLDictionaryFeatureProvider: MLFeatureProvider {
    private let values: [String: MLFeatureValue]
    public init(dictionary: [String: Any]) throws { values = dictionary.compactMapValues { $0 as? MLFeatureValue } }
    public var featureNames: Set<String> { Set(values.keys) }
    public func featureValue(for name: String) -> MLFeatureValue? { values[name] }
}

public final class MLModel {
    private let model: Int

    public static func compileModel(at url: URL) async throws -> URL {
        guard FileManager.default.fileExists(atPath: url.appendingPathComponent("Manifest.json").path) else {
            throw StandInError(description: "\(url.path) is no package")
        }
        return url
    }

    public init(contentsOf url: URL, configuration: MLModelConfiguration) throws {
        model = try ModelServer.shared.ask(["load": "coreml", "path": url.path]).0["model"] as! Int
    }

    public func prediction(from input: MLFeatureProvider) throws -> MLFeatureProvider {
        let names = input.featureNames.sorted()
        let given = names.map { input.featureValue(for: $0)!.asked }
        let question: [String: Any] = ["run": model, "given": names, "forms": given.map { $0.0 }]
        let (answer, parts) = try ModelServer.shared.ask(question, given.map { $0.1 })
        let made = answer["made"] as! [String], shapes = answer["shapes"] as! [[Int]], kinds = answer["kinds"] as! [String]
        var values = [String: MLFeatureValue]()
        for (place, name) in made.enumerated() {
            let type: MLMultiArrayDataType = kinds[place] == "int32" ? .int32 : .float32
            values[name] = MLFeatureValue(multiArray: MLMultiArray(shapes[place], type, parts[place]))
        }
        return try MLDictionaryFeatureProvider(dictionary: values)
    }
}
