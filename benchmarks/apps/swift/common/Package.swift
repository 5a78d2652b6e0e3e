// swift-tools-version:5.9
import PackageDescription

let package = Package(
    name: "MienPipeline",
    platforms: [.macOS(.v13), .iOS(.v16)],
    products: [.library(name: "MienPipeline", targets: ["MienPipeline"])],
    targets: [
        .target(name: "MienPipeline"),
        // Copied and not processed: a command line build would not compile the models in it.
        .testTarget(name: "MienPipelineTests", dependencies: ["MienPipeline"], resources: [.copy("Payload")]),
    ]
)
