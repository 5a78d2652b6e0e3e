import Foundation
import XCTest

// The Xcode project for iPhones compiles the library's files into the tests.
#if SWIFT_PACKAGE
    import MienPipeline
#endif

/// Measures every variant on every choice of compute units, and checks the outputs.
///
/// Each measurement is printed as one line, "MIEN " and a JSON object.
final class BenchTests: XCTestCase {
    private func payload() throws -> URL {
        #if SWIFT_PACKAGE
            let bundle = Bundle.module
        #else
            let bundle = Bundle(for: BenchTests.self)
        #endif
        return try XCTUnwrap(bundle.resourceURL).appendingPathComponent("Payload")
    }

    func testEveryVariantOnEveryComputeUnit() async throws {
        let folder = try payload()
        let spec = try Spec.read(folder)
        let pipeline = try PipelineBundle(folder)
        // Where to keep the outputs of Apple's runtime; unset on a phone.
        let output = ProcessInfo.processInfo.environment["MIEN_OUTPUT"].map { URL(fileURLWithPath: $0) }
        XCTAssertFalse(spec.variants.isEmpty)
        for variant in spec.variants {
            let bench = try await Bench(spec, pipeline, variant)
            for (name, units) in computeUnits {
                let record = try bench.measure(name, units, output: output)
                try report(record)
                for score in record.scores {
                    let place = "\(variant.name) on \(name), \(score.golden) from \(score.from)"
                    check(score.differences, variant.limits, place)
                }
                for photograph in record.photographs {
                    let place = "\(variant.name) on \(name), \(photograph.golden) from its photograph"
                    check(photograph.differences, variant.limits, place)
                    XCTAssertEqual(photograph.changed, [], "\(place): changed by the early exit")
                }
            }
        }
    }

    private func report(_ record: Record) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        let line = String(decoding: try encoder.encode(record), as: UTF8.self)
        print("MIEN \(line)")
    }

    private func check(_ differences: [String: Double?], _ limits: [String: Double], _ place: String) {
        for (tensor, limit) in limits {
            // A stage in the middle may make it no more; the reader of the results asks for all that must be there.
            guard let difference = differences[tensor] else { continue }
            // A difference that is not a number is nil, and fails.
            guard let largest = difference else {
                XCTFail("\(place): \(tensor) is not a number")
                continue
            }
            XCTAssertLessThanOrEqual(largest, limit, "\(place): \(tensor)")
        }
    }
}
