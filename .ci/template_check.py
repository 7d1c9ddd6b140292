"""Expands template.yaml as AWS does, and checks the result: `python .ci/template_check.py [MOTO_URL]`.

The loops (AWS::LanguageExtensions) are expanded first, by cfn-lint; the security linter, which does not know them, checks that result.
Then SAM's own transform follows. With a moto server the expanded stack is created, updated with nothing and deleted there, apart from the resource types that moto only
pretends to have. It proves that references and conditions resolve, that a second deployment changes nothing, and what outlives the stack.
"""

import io
import json
import logging
import os
import re
import subprocess
import sys
import tempfile
import zipfile

import boto3
import cfnlint.decode
from botocore.exceptions import ClientError
from cfnlint.template import Template
from samtranslator.translator.transform import transform

TEMPLATE = "template.yaml"
SECURITY_LINTER = ".tools/checkov/bin/checkov"
STACK = "template-check"
BUCKET, ZIP = "template-check-code", "function.zip"
# moto answers for these and does nothing, or does not know them.
ONLY_PRETENDED = {
    "AWS::ApiGatewayV2::Api",
    "AWS::ApiGatewayV2::Stage",
    "AWS::CloudWatch::Alarm",
    "AWS::CloudWatch::Dashboard",
    "AWS::CodeDeploy::Application",
    "AWS::CodeDeploy::DeploymentGroup",
    "AWS::Lambda::Alias",
    "AWS::Lambda::EventSourceMapping",
    "AWS::Lambda::Permission",
    "AWS::Lambda::Version",
    "AWS::Logs::MetricFilter",
    "AWS::SQS::QueuePolicy",
    "AWS::SecretsManager::Secret",
    "AWS::Scheduler::Schedule",
    "AWS::Events::Rule",
}
PARAMETERS = {
    "PublisherId": "558186818",
    "PaymentMethods": "123123123=adyen:authorise_then_capture",
    "AdyenMerchantAccount": "SandboxMerchant",
    "AdyenCapture": "manual",
    "AllowedOrigins": "https://shop.example.com",
    "AlarmEmail": "nights@example.com",
}

failures = []


def check(holds, what):
    if not holds:
        failures.append(what)


class NoManagedPolicies:
    def load(self):
        return {}


def without_loops():
    """The template with its loops expanded and nothing else changed."""
    template, mistakes = cfnlint.decode.decode(TEMPLATE)
    if mistakes:
        sys.exit(f"{TEMPLATE} cannot be read: {mistakes}")
    entries = [*template["Resources"].items(), *template["Outputs"].items()]
    identifiers = {loop[0] for name, loop in entries if name.startswith("Fn::ForEach::")}
    check(not condition_first(template), "Condition comes first in a resource, an output or a policy statement")
    language_extensions, sam = template["Transform"]
    template["Transform"] = language_extensions
    unrolled = Template(TEMPLATE, template, ["eu-west-1"])
    mistakes = unrolled.transform()
    if mistakes:
        sys.exit(f"{TEMPLATE}: the loops cannot be expanded: {mistakes}")
    expanded = fold(json.loads(json.dumps(unrolled.template)))
    expanded["Transform"] = sam
    for identifier in identifiers:
        # CloudFormation replaces it in keys, Fn::Sub and Ref only; SAM CLI replaces it everywhere and would hide the mistake.
        left = re.search(rf"[$&]\{{{identifier}\}}", json.dumps(expanded))
        check(not left, f"${{{identifier}}} stands where CloudFormation does not replace it")
    return expanded


def condition_first(value):
    """CloudFormation's transform is reported to take such a member for the function `Condition`."""
    members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    first = isinstance(value, dict) and len(value) > 1 and next(iter(value)) == "Condition"
    return first or any(condition_first(member) for member in members)


def fold(value):
    """Replaces the variables of each Fn::Sub that are constants after the expansion."""
    if isinstance(value, list):
        return [fold(member) for member in value]
    if not isinstance(value, dict):
        return value
    value = {name: fold(member) for name, member in value.items()}
    if isinstance(value.get("Fn::Sub"), list):
        text, variables = value["Fn::Sub"]
        for name in [name for name, constant in variables.items() if isinstance(constant, str)]:
            text = text.replace(f"${{{name}}}", variables.pop(name))
        value["Fn::Sub"] = [text, variables] if variables else text
    return value


def security_lint(template):
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(template, file)
        file.flush()
        command = [SECURITY_LINTER, "--config-file", ".checkov.yaml", "--file", file.name]
        done = subprocess.run(command, capture_output=True, text=True)
    passed = re.search(r"Passed checks: (\d+)", done.stdout)
    check(done.returncode == 0 and passed, f"security linter: {done.stdout}{done.stderr}")
    # A resource that it does not understand passes without a check. It has none for alarms and filters.
    understood = [one for one in template["Resources"].values() if one["Type"] not in ("AWS::CloudWatch::Alarm", "AWS::Logs::MetricFilter")]
    check(passed is None or int(passed[1]) >= len(understood), f"security linter: only {passed[1]} checks")
    print(f"security linter: {passed[1] if passed else 0} checks passed")


def expand(template):
    logging.getLogger("samtranslator").setLevel(logging.ERROR)
    template = json.loads(json.dumps(template))
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = f"s3://{BUCKET}/{ZIP}"
    defaults = {name: str(one["Default"]) for name, one in template["Parameters"].items() if "Default" in one}
    return transform(template, {**defaults, **PARAMETERS}, NoManagedPolicies())


def of_type(expanded, kind):
    return {name: one for name, one in expanded["Resources"].items() if one["Type"] == kind}


def lint(expanded):
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(expanded, file)
        file.flush()
        # Nothing refers any more to the parameters and the mapping that the transforms have used up.
        command = ["cfn-lint", "--ignore-checks", "W2001", "W7001", "--template", file.name]
        done = subprocess.run(command, capture_output=True, text=True)
        check(done.returncode == 0, f"cfn-lint of the expanded template: {done.stdout}{done.stderr}")


def every_resource(expanded):
    functions = of_type(expanded, "AWS::Lambda::Function")
    check(len(functions) >= 9, f"only {len(functions)} functions")
    roles = [json.dumps(function["Properties"]["Role"]) for function in functions.values()]
    check(len(set(roles)) == len(roles), "two functions share a role")
    for name, function in functions.items():
        properties = function["Properties"]
        check(properties["Runtime"] == "provided.al2023", f"{name}: runtime")
        check(properties["LoggingConfig"].get("LogGroup"), f"{name}: no log group of its own")
        check("ReservedConcurrentExecutions" not in properties, f"{name}: both doors share the concurrency, so none is reserved")
    for name, version in of_type(expanded, "AWS::Lambda::Version").items():
        # A version does not notice a changed parameter (aws/serverless-application-model#1640); a changed description replaces it.
        check(version["Properties"].get("Description") == {"Ref": "Release"}, f"{name}: new settings alone never take over")
    groups = of_type(expanded, "AWS::CodeDeploy::DeploymentGroup")
    check(len(groups) == len(functions), "a function takes over without a deployment group")
    for name, group in groups.items():
        configuration = group["Properties"]["AlarmConfiguration"]
        alarms = (configuration["Fn::If"][1] if "Fn::If" in configuration else configuration)["Alarms"]
        alarms = alarms["Fn::If"][1] if isinstance(alarms, dict) else alarms
        for alarm in alarms:
            metrics = expanded["Resources"][alarm["Name"]["Ref"]]["Properties"]["Metrics"]
            for metric in (one["MetricStat"]["Metric"] for one in metrics if "MetricStat" in one):
                version = {one["Name"]: one["Value"] for one in metric["Dimensions"]}.get("ExecutedVersion" if metric["MetricName"] == "Errors" else "version")
                own = name.removesuffix("DeploymentGroup") + "Version"
                check(version and version["Fn::GetAtt"][0].startswith(own), f"{name}: {metric['MetricName']} of other versions rolls it back")
        check(len(alarms) >= 1 and group["Properties"]["AutoRollbackConfiguration"]["Enabled"], f"{name}: no alarm brings the old version back")
    for name, mapping in of_type(expanded, "AWS::Lambda::EventSourceMapping").items():
        properties = mapping["Properties"]
        check(properties["FunctionResponseTypes"] == ["ReportBatchItemFailures"], f"{name}: no partial batch responses")
        # What lies in quarantine moves no money: it is only verified again.
        most = 10 if name == "ReconciliationFunctionQuarantine" else 1
        check(properties["BatchSize"] == most, f"{name}: more than one event at a time moves money")
        check("MaximumConcurrency" in properties["ScalingConfig"], f"{name}: no limit of concurrency")
    for name, queue in of_type(expanded, "AWS::SQS::Queue").items():
        check(queue["Properties"].get("SqsManagedSseEnabled") is True, f"{name}: not encrypted")
    for name, alarm in of_type(expanded, "AWS::CloudWatch::Alarm").items():
        properties = alarm["Properties"]
        check("AlarmActions" in properties, f"{name}: nobody hears it")
        check("TreatMissingData" in properties, f"{name}: silence is not decided")
    for name, role in of_type(expanded, "AWS::IAM::Role").items():
        for statement in statements(role):
            actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
            check(not any("*" in action for action in actions), f"{name}: an action with a wildcard")
            if statement.get("Resource") == "*":
                check(all(action.startswith("xray:") for action in actions), f"{name}: any resource for {actions}")
    for name, permission in of_type(expanded, "AWS::Lambda::Permission").items():
        check("SourceArn" in permission["Properties"] or "SourceAccount" in permission["Properties"], f"{name}: anybody's API may call")
    for name, one in expanded["Resources"].items():
        stays = one["Type"] in ("AWS::DynamoDB::Table", "AWS::SecretsManager::Secret", "AWS::SQS::Queue")
        check(not stays or one.get("DeletionPolicy") == "Retain", f"{name}: goes with the stack")


def statements(role):
    policies = [policy for policy in role["Properties"].get("Policies", []) if isinstance(policy, dict)]
    for policy in policies:
        choices = policy["Fn::If"][1:] if "Fn::If" in policy else [policy]
        for choice in choices:
            for statement in choice.get("PolicyDocument", {}).get("Statement", []):
                yield statement["Fn::If"][1] if "Fn::If" in statement else statement


def runbook(expanded):
    """Every alarm has an entry, by its name behind the stack's, without the function or gateway that it is about."""
    with open("docs/runbook.md") as file:
        entries = set(re.findall(r"^## `([a-z-]+)`", file.read(), re.M))
    folders = "|".join(sorted(re.findall(r"CodeUri: functions/([a-z-]+)", open(TEMPLATE).read()), key=len, reverse=True))
    gateways = "|".join(sorted(os.listdir("docs/gateways"))).replace(".md", "")
    for name, alarm in of_type(expanded, "AWS::CloudWatch::Alarm").items():
        slug = alarm["Properties"]["AlarmName"]["Fn::Sub"].removeprefix("${AWS::StackName}-")
        general = re.sub(rf"^({folders}|{gateways})-", "", slug)
        check(slug in entries or general in entries, f"{name}: docs/runbook.md has no entry `{slug}` or `{general}`")


def code_archive():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("bootstrap", "#!/bin/sh\n")
    return buffer.getvalue()


def deployable(expanded):
    """What moto really makes, without references to what it does not."""
    resources = {name: one for name, one in expanded["Resources"].items() if one["Type"] not in ONLY_PRETENDED}
    gone = set(expanded["Resources"]) - set(resources)

    def clean(value):
        if isinstance(value, dict):
            if value.get("Ref") in gone or (isinstance(value.get("Fn::GetAtt"), list) and value["Fn::GetAtt"][0] in gone):
                return "left-out"
            if "Fn::Sub" in value and isinstance(value["Fn::Sub"], str):
                return {"Fn::Sub": re.sub(r"\$\{(\w+)(\.\w+)?\}", lambda m: "left-out" if m[1] in gone else m[0], value["Fn::Sub"])}
            return {name: clean(member) for name, member in value.items()}
        # moto keeps a hole where a list's item is AWS::NoValue; tracing is off by default.
        return [clean(member) for member in value if not is_optional(member)] if isinstance(value, list) else value

    def is_optional(member):
        return isinstance(member, dict) and member.get("Fn::If", [None])[-1] == {"Ref": "AWS::NoValue"}

    parts = {key: expanded[key] for key in ("AWSTemplateFormatVersion", "Parameters", "Conditions") if key in expanded}
    return {**parts, "Resources": clean(resources)}


def rehearse(expanded, url):
    def client(service):
        return boto3.client(service, endpoint_url=url, region_name="eu-west-1", aws_access_key_id="test", aws_secret_access_key="test")

    client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    client("s3").put_object(Bucket=BUCKET, Key=ZIP, Body=code_archive())
    cloudformation = client("cloudformation")
    body = json.dumps(deployable(expanded))
    parameters = [{"ParameterKey": name, "ParameterValue": value} for name, value in PARAMETERS.items()]
    stack = {"StackName": STACK, "TemplateBody": body, "Parameters": parameters, "Capabilities": ["CAPABILITY_IAM"]}
    cloudformation.create_stack(**stack)
    status = cloudformation.describe_stacks(StackName=STACK)["Stacks"][0]["StackStatus"]
    check(status == "CREATE_COMPLETE", f"the stack is {status}")
    made = {one["LogicalResourceId"]: one for one in cloudformation.list_stack_resources(StackName=STACK)["StackResourceSummaries"]}
    conditional = {name for name, one in expanded["Resources"].items() if "Condition" in one}
    missing = set(json.loads(body)["Resources"]) - set(made) - conditional
    check(not missing, f"not made: {sorted(missing)}")
    before = {name: one["PhysicalResourceId"] for name, one in made.items()}
    try:
        cloudformation.update_stack(**stack)
    except ClientError as error:
        check("No updates" in str(error), f"a second deployment: {error}")
    again = cloudformation.list_stack_resources(StackName=STACK)["StackResourceSummaries"]
    check({one["LogicalResourceId"]: one["PhysicalResourceId"] for one in again} == before, "a second deployment changed something")
    table = before["Journal"]
    cloudformation.delete_stack(StackName=STACK)
    check(table in client("dynamodb").list_tables()["TableNames"], "the journal went with the stack")
    functions = client("lambda").list_functions()["Functions"]
    check(not functions, f"{len(functions)} functions outlive the stack")
    print(f"created, updated and deleted: {len(before)} resources of {len({one['Type'] for one in json.loads(body)['Resources'].values()})} types")


unrolled = without_loops()
security_lint(unrolled)
expanded = expand(unrolled)
lint(expanded)
every_resource(expanded)
runbook(expanded)
if len(sys.argv) > 1:
    rehearse(expanded, sys.argv[1])
print(f"expanded: {len(expanded['Resources'])} resources")
for failure in failures:
    print(f"FAILED: {failure}")
sys.exit(1 if failures else 0)
