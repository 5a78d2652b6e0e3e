// Asks tests/benchmarks/apps/model_server.py, by two pipes in the folder that MIEN_MODELS names. A question is a line
// of JSON and bytes, and so is its answer.
import Foundation
import Glibc

public struct StandInError: Error, CustomStringConvertible { public let description: String }

final class ModelServer {
    nonisolated(unsafe) static let shared = ModelServer()
    private let questions, answers: UnsafeMutablePointer<FILE>

    private init() {
        let folder = ProcessInfo.processInfo.environment["MIEN_MODELS"] ?? "."
        questions = fopen("\(folder)/questions", "wb")!
        answers = fopen("\(folder)/answers", "rb")!
    }

    func ask(_ question: [String: Any], _ parts: [Data] = []) throws -> ([String: Any], [Data]) {
        let header = question.merging(["sizes": parts.map { $0.count }]) { $1 }
        let line = try JSONSerialization.data(withJSONObject: header) + Data("\n".utf8)
        for part in [line] + parts { part.withUnsafeBytes { _ = fwrite($0.baseAddress, 1, part.count, questions) } }
        fflush(questions)
        guard let answer = try JSONSerialization.jsonObject(with: self.line()) as? [String: Any] else {
            throw StandInError(description: "the model server gave no object")
        }
        if let error = answer["error"] { throw StandInError(description: "\(error)") }
        return (answer, (answer["sizes"] as! [Int]).map(read))
    }

    private func line() -> Data {
        var found = Data()
        while case let next = fgetc(answers), next != EOF, next != 10 { found.append(UInt8(next)) }
        return found
    }

    private func read(_ size: Int) -> Data {
        var data = Data(count: size)
        let found = data.withUnsafeMutableBytes { fread($0.baseAddress, 1, size, answers) }
        precondition(found == size, "the model server ended")
        return data
    }
}
