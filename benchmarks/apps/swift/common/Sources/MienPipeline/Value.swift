import CoreML
import CoreVideo
import Foundation

/// A tensor: RGB pixels row by row, or float32 numbers, the last axis fastest.
public enum Value {
    case pixels([UInt8], width: Int, height: Int)
    case numbers([Float], shape: [Int])

    /// Read a golden tensor as `spec` describes it; numbers are little-endian float32.
    public static func read(_ file: URL, _ spec: TensorSpec) throws -> Value {
        let data = try Data(contentsOf: file)
        let count = spec.shape.reduce(1, *)
        let size = spec.image ? count : count * MemoryLayout<Float>.size
        guard data.count == size else {
            throw PipelineError("\(file.lastPathComponent) has \(data.count) bytes, expected \(size)")
        }
        if spec.image {
            return .pixels([UInt8](data), width: spec.shape[1], height: spec.shape[0])
        }
        var numbers = [Float](repeating: 0, count: count)
        _ = numbers.withUnsafeMutableBytes { data.copyBytes(to: $0) }
        return .numbers(numbers, shape: spec.shape)
    }

    /// Read what a model gave; accelerators pad rows, so places follow from the strides.
    public init(_ array: MLMultiArray) throws {
        guard array.dataType == .float32 else {
            throw PipelineError("an output has type \(array.dataType.rawValue), expected float32")
        }
        let shape = array.shape.map { $0.intValue }
        let strides = array.strides.map { $0.intValue }
        let base = array.dataPointer.assumingMemoryBound(to: Float.self)
        var numbers = [Float]()
        numbers.reserveCapacity(array.count)
        var place = [Int](repeating: 0, count: shape.count)
        for _ in 0..<array.count {
            numbers.append(base[zip(place, strides).reduce(0) { $0 + $1.0 * $1.1 }])
            var axis = shape.count - 1
            while axis >= 0 {
                place[axis] += 1
                if place[axis] < shape[axis] { break }
                place[axis] = 0
                axis -= 1
            }
        }
        self = .numbers(numbers, shape: shape)
    }

    /// Make what a model takes.
    public func feature() throws -> MLFeatureValue {
        switch self {
        case let .pixels(bytes, width, height):
            return MLFeatureValue(pixelBuffer: try pixelBuffer(bytes, width: width, height: height))
        case let .numbers(numbers, shape):
            let array = try MLMultiArray(shape: shape.map { NSNumber(value: $0) }, dataType: .float32)
            let base = array.dataPointer.assumingMemoryBound(to: Float.self)
            for (index, number) in numbers.enumerated() { base[index] = number }
            return MLFeatureValue(multiArray: array)
        }
    }

    /// The numbers, of which pixels have none.
    public var numbers: [Float] {
        if case let .numbers(numbers, _) = self { return numbers }
        return []
    }

    /// The bytes of a golden file: float32, little-endian as every Apple processor is.
    public var data: Data {
        numbers.withUnsafeBytes { Data($0) }
    }
}

/// Put RGB bytes into the pixel buffer that a camera would deliver.
public func pixelBuffer(_ rgb: [UInt8], width: Int, height: Int) throws -> CVPixelBuffer {
    let attributes = [kCVPixelBufferIOSurfacePropertiesKey as String: [String: Any]()] as CFDictionary
    var made: CVPixelBuffer?
    let status = CVPixelBufferCreate(
        kCFAllocatorDefault, width, height, kCVPixelFormatType_32BGRA, attributes, &made)
    guard status == kCVReturnSuccess, let buffer = made else {
        throw PipelineError("no pixel buffer of \(width) x \(height) (status \(status))")
    }
    CVPixelBufferLockBaseAddress(buffer, [])
    defer { CVPixelBufferUnlockBaseAddress(buffer, []) }
    guard let base = CVPixelBufferGetBaseAddress(buffer) else {
        throw PipelineError("a pixel buffer without memory")
    }
    let stride = CVPixelBufferGetBytesPerRow(buffer)
    for row in 0..<height {
        let line = base.advanced(by: row * stride).assumingMemoryBound(to: UInt8.self)
        for column in 0..<width {
            let source = (row * width + column) * 3
            line[column * 4] = rgb[source + 2]
            line[column * 4 + 1] = rgb[source + 1]
            line[column * 4 + 2] = rgb[source]
            line[column * 4 + 3] = 255
        }
    }
    return buffer
}
