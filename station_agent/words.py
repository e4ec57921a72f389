"""The sentences of ``doctor`` in English and Chinese: what is looked at, what was found, what to do."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final, Literal

Language = Literal["en", "zh"]

MARKS: Final[Mapping[Language, tuple[str, str]]] = {"en": ("ok    ", "not ok"), "zh": ("正常  ", "不正常")}
TODO: Final[Mapping[Language, str]] = {"en": "what to do", "zh": "处理办法"}

# Full-width punctuation is how Chinese is written; its characters count double, and a pair stays on its line.
# ruff: noqa: RUF001
WORDS: Final[Mapping[str, tuple[str, str]]] = {
    # what is looked at
    "configuration": ("configuration", "配置"),
    "permissions": ("permissions", "权限"),
    "spool": ("spool", "缓存库"),
    "disk": ("disk", "磁盘"),
    "agent": ("agent", "代理程序"),
    "instrument": ("instrument {name}", "仪器 {name}"),
    "reading": ("instrument {name}, live reading", "仪器 {name} 实时读数"),
    "broker name": ("broker, name", "服务器名称"),
    "broker port": ("broker, port", "服务器端口"),
    "broker tls": ("broker, TLS", "服务器 TLS"),
    "broker certificate": ("broker's certificate", "服务器证书"),
    "own certificate": ("own certificate", "本站证书"),
    "broker mqtt": ("broker, MQTT", "服务器 MQTT"),
    "broker ack": ("broker, acknowledgements", "服务器确认"),
    "clock": ("clock", "时钟"),
    # what was found
    "no faults": ("{file}: no faults", "{file}：没有错误"),
    "private": ("what is secret is closed to other users", "机密文件对其他用户不可读"),
    "unreadable": ("{path} cannot be read by this user ({error})", "当前用户不能读取 {path}（{error}）"),
    "writable": ("{path} can be written", "{path} 可写"),
    "unwritable": ("{path} cannot be written by this user: {error}", "当前用户不能写入 {path}：{error}"),
    "disk free": (
        "{free:,} MB free, the spool may grow by {need:,} MB",
        "可用 {free:,} MB，缓存库还可增长 {need:,} MB",
    ),
    "running": ("running, process {process}", "正在运行，进程 {process}"),
    "not running": ("not running", "没有运行"),
    "files": ("{count} file(s), last {file}", "{count} 个文件，最新 {file}"),
    "no files": ("no file matches {path}", "没有文件匹配 {path}"),
    "makes its own": ("{about}: nothing to look for", "{about}：不需要检查"),
    "read": ("{time}: {values}", "{time}：{values}"),
    "nothing read": (
        "the last {lines} lines of {file} hold no reading{reason}",
        "{file} 的最后 {lines} 行没有读数{reason}",
    ),
    "live": ("read at {connection}", "读取自 {connection}"),
    "read by agent": (
        "the running agent (process {process}) reads it; status says what came",
        "由正在运行的代理（进程 {process}）读取；用 status 查看",
    ),
    "nothing heard": (
        "nothing that can be read came within {seconds:.0f} s: {reason}",
        "{seconds:.0f} 秒内没有收到可读的数据：{reason}",
    ),
    "resolved": ("{host} is {address}", "{host} 是 {address}"),
    "unresolved": ("{host} is not found: {error}", "找不到 {host}：{error}"),
    "open": ("{host}:{port} answers", "{host}:{port} 有应答"),
    "closed": ("{host}:{port} does not answer: {error}", "{host}:{port} 没有应答：{error}"),
    "tls": ("{version}, the broker's chain leads to the authority", "{version}，服务器证书链有效"),
    "no tls": (
        "switched off: everybody on the way can read and change what is sent",
        "未启用：传输内容可被他人读取和修改",
    ),
    "tls failed": ("{error}", "{error}"),
    "valid until": ("valid until {date}, {days} days left", "有效期至 {date}，还剩 {days} 天"),
    "expired": ("was valid until {date}", "已于 {date} 过期"),
    "not yet": ("is valid from {date} only", "{date} 才生效"),
    "no certificate": ("{error}", "{error}"),
    "accepted": ("accepted", "已接受"),
    "refused": ("{error}", "{error}"),
    "granted": ("{topic} granted", "{topic} 已获准"),
    "not granted": ("{topic} is refused", "{topic} 被拒绝"),
    "synchronised": ("synchronised, offset {offset:+.6f} s", "已同步，偏差 {offset:+.6f} 秒"),
    "not synchronised": ("not synchronised", "未同步"),
    "clock unknown": ("the system does not say whether it is synchronised", "系统没有说明是否同步"),
    "not looked at": ("not looked at", "未检查"),
    # what to do
    "do configuration": (
        "correct the file; station-agent check says the same",
        "修改配置文件；station-agent check 给出同样的信息",
    ),
    "do permissions": (
        "give this user the right to read it (chown, chmod 600), or run doctor as the agent's user",
        "让当前用户可以读取（chown、chmod 600），或用代理程序的用户运行 doctor",
    ),
    "do spool": ("create the folder and give it to the agent's user", "创建该目录并交给代理程序的用户"),
    "do disk": ("free some space, or lower spool.quota_mb", "清理磁盘，或减小 spool.quota_mb"),
    "do files": (
        "look at instrument.path and at whether the instrument writes and its disk is mounted",
        "检查 instrument.path、仪器是否在写文件、磁盘是否已挂载",
    ),
    "do reading": ("look at the driver and its options, and at the instrument", "检查驱动及其选项，并检查仪器"),
    "do live": (
        "look at the cable, at the address, at the port's settings, and at whether the instrument sends",
        "检查线缆、地址、串口参数以及仪器是否在发送数据",
    ),
    "do name": ("look at broker.host, the network and its DNS", "检查 broker.host、网络和 DNS"),
    "do port": ("look at broker.port, the network and the firewall", "检查 broker.port、网络和防火墙"),
    "do tls": (
        "look at broker.tls.ca, cert and key, and at the name in the broker's certificate",
        "检查 broker.tls 的 ca、cert、key 以及服务器证书中的名称",
    ),
    "do certificate": ("have a new certificate made; look at the clock too", "申请新证书；同时检查时钟"),
    "do no tls": ("set [broker.tls]", "设置 [broker.tls]"),
    "do mqtt": (
        "ask the operator: user, password, certificate and access rules at the broker",
        "请联系网络管理员：检查用户、密码、证书和访问规则",
    ),
    "do clock": (
        "start chrony or systemd-timesyncd, and look at whether it has a server",
        "启动 chrony 或 systemd-timesyncd，并检查时间服务器",
    ),
    "do first": ("mend what is named above first", "请先处理上面的问题"),
}
"""Key -> the sentence in English and in Chinese."""


def language(environment: Mapping[str, str] = os.environ) -> Language:
    """Return the language of a locale: the first that is set of LC_ALL, LC_MESSAGES and LANG."""
    said = next((environment[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if environment.get(name)), "")
    return "zh" if said.lower().startswith("zh") else "en"


def say(key: str, speech: Language, **values: object) -> str:
    """Return a sentence."""
    return WORDS[key][speech == "zh"].format(**values)
