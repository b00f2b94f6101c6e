//! The parts of load balancers, target groups and listeners, field by field. OpenID Connect has no table: AWS never tells the secret that it
//! needs, so that it could not be compared.

use crate::aws::CloudError;
use crate::aws::s3::form::{Form, forms, words};
use aws_sdk_elasticloadbalancingv2::types::{
    Action, ActionTypeEnum, AuthenticateCognitoActionConditionalBehaviorEnum, AuthenticateCognitoActionConfig, Certificate,
    FixedResponseActionConfig, ForwardActionConfig, IpAddressType, Listener, LoadBalancer, LoadBalancerAddress, LoadBalancerAttribute,
    LoadBalancerSchemeEnum, LoadBalancerTypeEnum, Matcher, MutualAuthenticationAttributes, ProtocolEnum, RedirectActionConfig,
    RedirectActionStatusCodeEnum, SubnetMapping, TargetDescription, TargetGroup, TargetGroupIpAddressTypeEnum, TargetGroupStickinessConfig,
    TargetGroupTuple, TargetTypeEnum,
};
use serde_json::{Map, Value};
use std::collections::HashMap;

words! {
    ActionTypeEnum,
    AuthenticateCognitoActionConditionalBehaviorEnum,
    IpAddressType,
    LoadBalancerSchemeEnum,
    LoadBalancerTypeEnum,
    ProtocolEnum,
    RedirectActionStatusCodeEnum,
    TargetGroupIpAddressTypeEnum,
    TargetTypeEnum,
}

forms! {
    LoadBalancer {
        "customerOwnedIPv4Pool": customer_owned_ipv4_pool set_customer_owned_ipv4_pool,
        "ipAddressType": ip_address_type set_ip_address_type,
        "name": load_balancer_name set_load_balancer_name,
        "scheme": scheme set_scheme,
        "securityGroups": security_groups set_security_groups,
        "type": r#type set_type,
    }
    LoadBalancerAttribute {
        "key": key set_key,
        "value": value set_value,
    }
    SubnetMapping {
        "allocationID": allocation_id set_allocation_id,
        "ipv6Address": ipv6_address set_ipv6_address,
        "privateIPv4Address": private_ipv4_address set_private_ipv4_address,
        "subnetID": subnet_id set_subnet_id,
    }
    LoadBalancerAddress {
        "allocationID": allocation_id set_allocation_id,
        "ipv6Address": ipv6_address set_ipv6_address,
        "privateIPv4Address": private_ipv4_address set_private_ipv4_address,
    }
    TargetGroup {
        "healthCheckEnabled": health_check_enabled set_health_check_enabled,
        "healthCheckIntervalSeconds": health_check_interval_seconds set_health_check_interval_seconds,
        "healthCheckPath": health_check_path set_health_check_path,
        "healthCheckPort": health_check_port set_health_check_port,
        "healthCheckProtocol": health_check_protocol set_health_check_protocol,
        "healthCheckTimeoutSeconds": health_check_timeout_seconds set_health_check_timeout_seconds,
        "healthyThresholdCount": healthy_threshold_count set_healthy_threshold_count,
        "ipAddressType": ip_address_type set_ip_address_type,
        "matcher": matcher set_matcher,
        "port": port set_port,
        "protocol": protocol set_protocol,
        "protocolVersion": protocol_version set_protocol_version,
        "name": target_group_name set_target_group_name,
        "targetType": target_type set_target_type,
        "unhealthyThresholdCount": unhealthy_threshold_count set_unhealthy_threshold_count,
        "vpcID": vpc_id set_vpc_id,
    }
    Matcher {
        "grpcCode": grpc_code set_grpc_code,
        "httpCode": http_code set_http_code,
    }
    TargetDescription {
        "availabilityZone": availability_zone set_availability_zone,
        "id": id set_id,
        "port": port set_port,
    }
    Listener {
        "alpnPolicy": alpn_policy set_alpn_policy,
        "loadBalancerARN": load_balancer_arn set_load_balancer_arn,
        "mutualAuthentication": mutual_authentication set_mutual_authentication,
        "port": port set_port,
        "protocol": protocol set_protocol,
        "sslPolicy": ssl_policy set_ssl_policy,
    }
    MutualAuthenticationAttributes {
        "ignoreClientCertificateExpiry": ignore_client_certificate_expiry set_ignore_client_certificate_expiry,
        "mode": mode set_mode,
        "trustStoreARN": trust_store_arn set_trust_store_arn,
    }
    Certificate {
        "certificateARN": certificate_arn set_certificate_arn,
        "isDefault": is_default set_is_default,
    }
    Action {
        "authenticateCognitoConfig": authenticate_cognito_config set_authenticate_cognito_config,
        "fixedResponseConfig": fixed_response_config set_fixed_response_config,
        "forwardConfig": forward_config set_forward_config,
        "order": order set_order,
        "redirectConfig": redirect_config set_redirect_config,
        "targetGroupARN": target_group_arn set_target_group_arn,
        "type": r#type set_type,
    }
    AuthenticateCognitoActionConfig {
        "authenticationRequestExtraParams": authentication_request_extra_params set_authentication_request_extra_params,
        "onUnauthenticatedRequest": on_unauthenticated_request set_on_unauthenticated_request,
        "scope": scope set_scope,
        "sessionCookieName": session_cookie_name set_session_cookie_name,
        "sessionTimeout": session_timeout set_session_timeout,
        "userPoolARN": user_pool_arn set_user_pool_arn,
        "userPoolClientID": user_pool_client_id set_user_pool_client_id,
        "userPoolDomain": user_pool_domain set_user_pool_domain,
    }
    FixedResponseActionConfig {
        "contentType": content_type set_content_type,
        "messageBody": message_body set_message_body,
        "statusCode": status_code set_status_code,
    }
    ForwardActionConfig {
        "targetGroupStickinessConfig": target_group_stickiness_config set_target_group_stickiness_config,
        "targetGroups": target_groups set_target_groups,
    }
    TargetGroupStickinessConfig {
        "durationSeconds": duration_seconds set_duration_seconds,
        "enabled": enabled set_enabled,
    }
    TargetGroupTuple {
        "targetGroupARN": target_group_arn set_target_group_arn,
        "weight": weight set_weight,
    }
    RedirectActionConfig {
        "host": host set_host,
        "path": path set_path,
        "port": port set_port,
        "protocol": protocol set_protocol,
        "query": query set_query,
        "statusCode": status_code set_status_code,
    }
}

impl Form for HashMap<String, String> {
    fn read(value: &Value) -> Result<Self, CloudError> {
        let object = value.as_object().into_iter().flatten();
        object.map(|(key, value)| Ok((key.clone(), String::read(value)?))).collect()
    }

    fn write(&self) -> Value {
        self.iter().map(|(key, value)| (key.clone(), value.write())).collect::<Map<_, _>>().into()
    }
}
